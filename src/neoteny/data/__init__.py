"""Data sets: read from the user's folder or downloaded once, and checked in both cases.

What is slow to decode is decoded once, into memory-mapped arrays in a cache that all processes share.
"""

from neoteny.data.catalogue import DATA_SETS, DataSet
from neoteny.data.cifar100 import cifar100
from neoteny.data.imagenet32 import ImageClasses, imagenet32
from neoteny.data.mnist import mnist

__all__ = ["DATA_SETS", "DataSet", "ImageClasses", "cifar100", "imagenet32", "mnist"]
