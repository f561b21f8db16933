"""A method, an optimizer, a network, a stream, a measure and a benchmark of one's own, for neoteny's laboratory."""
