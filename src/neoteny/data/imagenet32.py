"""ImageNet at 32x32, by class: the authors' class files, the official batches, or folders of images."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from neoteny.data.cache import Allocate, cached, identity
from neoteny.data.files import ENVIRONMENT_VARIABLE, named_folder
from neoteny.data.pickles import labelled_images, read_pickle
from neoteny.data.pictures import decoders, picture
from neoteny.errors import DataError
from neoteny.progress import bar

__all__ = ["ImageClasses", "find_imagenet32", "imagenet32"]

_SIDE = 32
_SHAPE = (3, _SIDE, _SIDE)
_LEAST_CLASSES, _MOST_CLASSES = 2, 1000
_LEAST_IMAGES = 2  # of a class: one to learn from and one to test with
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, eq=False)
class ImageClasses:
    """Images sorted by class.

    Attributes:
        images: of each class, [n, 3, 32, 32] uint8, memory-mapped and read-only; n may differ between classes.
        source: one line that describes them.

    >>> found = ImageClasses((np.zeros((5, 3, 32, 32), np.uint8), np.zeros((4, 3, 32, 32), np.uint8)), "black images")
    >>> found.classes, found.images_per_class
    (2, 4)
    """

    images: tuple[np.ndarray, ...] = field(repr=False)
    source: str

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.images)

    @property
    def images_per_class(self) -> int:
        """The number of images of the smallest class."""
        return min(map(len, self.images))


@dataclass(frozen=True)
class Layout:
    """How images are stored in a folder, before they are decoded.

    Attributes:
        kind: one line that describes them.
        folder: the folder.
        files: all of them.
        decode: fills the cache's arrays `images` [N, 3, 32, 32], class after class, and `counts` [classes].
    """

    kind: str
    folder: Path
    files: Sequence[Path] = field(repr=False)
    decode: Callable[[Allocate], None] = field(repr=False)


def imagenet32(data_dir: str | os.PathLike[str] | None = None) -> ImageClasses:
    """The classes of ImageNet at 32x32, as many as are found.

    The folder is `data_dir`, or else the one that the environment variable `NEOTENY_DATA` names; the images are in its
    folder `imagenet32/`, or directly in it. The first of these layouts that is found is used:

    1. `classes/0.npy`, `classes/1.npy`, ...: one file a class, [n, 3, 32, 32] uint8 or whole numbers from 0 to 255 of
       another type, as the authors of continual backpropagation distribute them;
    2. `train_data_batch_1` to `train_data_batch_10`: the official downsampled ImageNet32;
    3. folders of images, one for each class, in alphabetical order (needs Pillow). The shorter side is scaled to 32 by
       averaging boxes, then the centre is cropped.

    Images are decoded once into the cache, which all processes share: 3,072 bytes for each image. Nothing is
    downloaded, as ImageNet's licence requires a registration.

    Args:
        data_dir: the folder of the data sets.

    Raises:
        DataError: there are no images or too few, or they have another shape or type; a file is corrupt or unsafe; the
            disk is too full; the message names it and the cure.

    Source: https://image-net.org/download-images (the official batches); Chrabaszcz, Loshchilov & Hutter, arXiv
    1707.08819, 2017 (averaging boxes); Dohare et al., Nature 632, 2024 (the class files).

    >>> found = imagenet32("data")  # doctest: +SKIP
    >>> found.source  # doctest: +SKIP
    "authors' class files, 1000 classes of 700 images"
    """
    layout = find_imagenet32(data_dir)
    if layout is None:
        folder = named_folder(data_dir)
        where = f"there are no images in {folder} or its folder imagenet32" if folder else "no folder was given"
        raise DataError(
            f"ImageNet32 is missing: {where}. It cannot be fetched without registration: get the downsampled "
            "ImageNet32 from https://image-net.org/download-images (train_data_batch_1 to _10) or the authors' "
            "classes/*.npy, or make one folder of images a class; put them in a folder imagenet32, and name the one "
            f"above it by --data-dir or {ENVIRONMENT_VARIABLE}."
        )
    images, counts = cached("imagenet32", identity(layout.files), ("images", "counts"), layout.decode)
    least, most = counts.min(), counts.max()
    amount = f"{least}" if least == most else f"{least} to {most}"
    return ImageClasses(
        images=tuple(np.split(images, np.cumsum(counts)[:-1])),
        source=f"{layout.kind}, {len(counts)} classes of {amount} images",
    )


def find_imagenet32(data_dir: str | os.PathLike[str] | None = None) -> Layout | None:
    """The layout of the images in the user's folder, or None; nothing is decoded."""
    named = named_folder(data_dir)
    if named is None:
        return None
    for folder in (named / "imagenet32", named):
        if folder.is_dir():
            for look in (_class_files, _batches, _folders_of_images):
                if (layout := look(folder)) is not None:
                    return layout
    return None


# --- the authors' class files


def _class_files(folder: Path) -> Layout | None:
    folder = folder / "classes"
    numbered = {int(path.stem): path for path in folder.glob("*.npy") if path.stem.isdecimal()}
    if not numbered:
        return None
    files = [numbered.get(number, folder / f"{number}.npy") for number in range(max(numbered) + 1)]
    return Layout("authors' class files", folder, files, lambda allocate: _decode_class_files(files, allocate))


def _decode_class_files(files: Sequence[Path], allocate: Allocate) -> None:
    counts = [len(_class_file(path)) for path in files]
    _require_enough(counts, files)
    images = _allocate(counts, allocate)
    for path, to in zip(files, _by_class(images, counts), strict=True):
        found = _class_file(path)
        if found.dtype != np.uint8:
            whole = np.isfinite(found) & (found >= 0) & (found <= 255) & (found == np.floor(found))
            if not whole.all():
                raise DataError(
                    f"{path} holds {found[~whole].flat[0]}: values must be whole numbers from 0 to 255, as "
                    "brightnesses are stored. Save it anew, neither scaled nor normalised."
                )
        to[:] = found


def _class_file(path: Path) -> np.ndarray:
    try:
        found = open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        raise DataError(f"{path} is missing, truncated or corrupt: {error}. Copy or fetch the file again.") from None
    if found.ndim != 4 or found.shape[1:] != _SHAPE or found.dtype.kind not in "uif":
        raise DataError(
            f"{path} is {found.dtype} of shape {found.shape}: a class file is [n, 3, {_SIDE}, {_SIDE}] uint8, images "
            "by channels by rows by columns. Save it anew in this shape."
        )
    return found


# --- the official batches


def _batches(folder: Path) -> Layout | None:
    files = [path for number in range(1, 11) if (path := folder / f"train_data_batch_{number}").is_file()]
    if not files:
        return None
    kind = "official ImageNet32" + ("" if len(files) == 10 else f" ({len(files)} of its 10 batches)")
    return Layout(kind, folder, files, lambda allocate: _decode_batches(files, allocate))


def _decode_batches(files: Sequence[Path], allocate: Allocate) -> None:
    # Read twice, first for the sizes of the classes: keeping all batches would take 4 GB of memory.
    with bar("decoding ImageNet32", 2 * len(files)) as advance:
        labels = []
        for path in files:
            labels.append(_batch(path)[1])
            advance(1)
        counts = np.bincount(np.concatenate(labels))[1:]  # labels begin with 1
        _require_enough(counts, [f"class {label} in {files[0].parent}" for label in range(1, len(counts) + 1)])
        images = _allocate(counts, allocate)
        places = np.concatenate([[0], np.cumsum(counts)])
        for path in files:
            found, its = _batch(path)
            for label in np.unique(its):
                rows = np.flatnonzero(its == label)
                images[places[label - 1] : places[label - 1] + len(rows)] = found[rows].reshape(-1, *_SHAPE)
                places[label - 1] += len(rows)
            advance(1)


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    cure = "Fetch the file again from https://image-net.org/download-images."
    with open(path, "rb") as file:
        images, labels = labelled_images(read_pickle(file, path), "labels", path, cure)
    if labels.shape != (len(images),) or not np.isin(labels, np.arange(1, _MOST_CLASSES + 1)).all() or not len(labels):
        raise DataError(
            f"{path}: 'labels' are not {len(images):,} whole numbers from 1 to {_MOST_CLASSES}, one an image. {cure}"
        )
    return images, labels


# --- folders of images


def _folders_of_images(folder: Path) -> Layout | None:
    found = {}
    for inner in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if files := sorted(path for path in inner.iterdir() if path.suffix.lower() in _SUFFIXES):
            found[inner] = files
    if not found:
        return None
    everything = [path for files in found.values() for path in files]
    return Layout("folders of images", folder, everything, lambda allocate: _decode_folders(found, allocate))


def _decode_folders(found: dict[Path, list[Path]], allocate: Allocate) -> None:
    counts = [len(files) for files in found.values()]
    _require_enough(counts, list(found))
    images = _allocate(counts, allocate)
    with decoders(next(iter(found)).parent) as pool, bar("decoding images", sum(counts)) as advance:
        for files, to in zip(found.values(), _by_class(images, counts), strict=True):
            for place, image in enumerate(pool.map(_read_image, files)):
                to[place] = image
            advance(len(files))


def _read_image(path: Path) -> np.ndarray:
    """[3, 32, 32]: the shorter side scaled to 32, the centre cropped."""
    from PIL import Image

    image = picture(path, path, draft=2 * _SIDE)
    scale = _SIDE / min(image.size)
    width, height = (max(_SIDE, round(scale * side)) for side in image.size)
    left, top = (width - _SIDE) // 2, (height - _SIDE) // 2
    image = image.resize((width, height), Image.Resampling.BOX).crop((left, top, left + _SIDE, top + _SIDE))
    return np.asarray(image).transpose(2, 0, 1)


# --- what they share


def _require_enough(counts: Sequence[int] | np.ndarray, names: Sequence[object]) -> None:
    for count, name in zip(counts, names, strict=True):
        if count < _LEAST_IMAGES:
            raise DataError(
                f"{name} has too few images: {count}. A class needs at least {_LEAST_IMAGES}, one to learn from and "
                "one to test with. Add some, or take the class away."
            )
    if len(counts) < _LEAST_CLASSES:
        raise DataError(f"{names[0]} is the only class: at least {_LEAST_CLASSES} are needed. Add others beside it.")


def _allocate(counts: Sequence[int] | np.ndarray, allocate: Allocate) -> np.ndarray:
    arrays = allocate({"images": ((int(sum(counts)), *_SHAPE), np.uint8), "counts": ((len(counts),), np.int64)})
    arrays["counts"][:] = counts
    return arrays["images"]


def _by_class(images: np.ndarray, counts: Sequence[int]) -> Iterator[np.ndarray]:
    for begin, end in pairwise(np.cumsum([0, *counts])):
        yield images[begin:end]
