"""Data sets: read from the user's folder or downloaded once, and checked in both cases.

What is slow to decode is decoded once, into memory-mapped arrays in a cache that all processes share. `labelled` gives
any of the images by its name.
"""

from neoteny.data.catalogue import DATA_SETS, DataSet, Labelled, labelled
from neoteny.data.cifar10 import cifar10
from neoteny.data.cifar100 import SUPERCLASSES, cifar100, cifar100_superclasses
from neoteny.data.electricity import electricity
from neoteny.data.fashion_mnist import fashion_mnist
from neoteny.data.flights import Flights, flights
from neoteny.data.imagenet32 import ImageClasses, imagenet32
from neoteny.data.mnist import mnist
from neoteny.data.svhn import svhn
from neoteny.data.tiny_imagenet import tiny_imagenet
from neoteny.data.transitions import load_transitions, save_transitions

__all__ = [
    "DATA_SETS",
    "SUPERCLASSES",
    "DataSet",
    "Flights",
    "ImageClasses",
    "Labelled",
    "cifar10",
    "cifar100",
    "cifar100_superclasses",
    "electricity",
    "fashion_mnist",
    "flights",
    "imagenet32",
    "labelled",
    "load_transitions",
    "mnist",
    "save_transitions",
    "svhn",
    "tiny_imagenet",
]
