"""The HTML page of `neoteny report`."""
