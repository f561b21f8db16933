"""Drawing: how figures look (`style`), where text stands (`layout`), and each kind of figure in a file of its own."""
