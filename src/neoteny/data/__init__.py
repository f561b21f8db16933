"""Data sets: read from a folder of the user's, or fetched once, and checked by checksum either way."""

from neoteny.data.mnist import mnist

__all__ = ["mnist"]
