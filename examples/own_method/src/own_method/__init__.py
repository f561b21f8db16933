"""A method, an optimizer, a network, a stream, a measure and a benchmark of your own, for neoteny's laboratory."""
