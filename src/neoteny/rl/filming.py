"""Films of pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray

from neoteny.errors import MissingPackageError, SettingError

__all__ = ["KINDS", "check", "film", "kind"]

_NEEDS = {".mp4": ("imageio_ffmpeg", "imageio-ffmpeg"), ".gif": ("PIL", "pillow")}
KINDS = tuple(_NEEDS)


def kind() -> str:
    """The suffix of a film where none was chosen: .mp4 if imageio-ffmpeg is installed, otherwise .gif."""
    try:
        import_module("imageio_ffmpeg")
    except ImportError:
        return ".gif"
    return ".mp4"


def film(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    """Write pictures as a film. The file appears when it is complete; after an error there is none.

    Args:
        path: of the film, with suffix .mp4 or .gif.
        pictures: [height, width, 3] each; each is made when it is written, so that few are in memory.
        rate: pictures a second; a GIF rounds the time between two to hundredths of a second.

    Raises:
        SettingError: another suffix, or a folder that cannot be made or written to.
        MissingPackageError: the package that writes such a film is not installed.
    """
    check(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error}): give another place for the film.") from error
    temporary = path.with_name(f".{path.stem}.part{path.suffix}")  # the suffix tells the writers which format
    try:
        (_mp4 if path.suffix == ".mp4" else _gif)(temporary, pictures, rate)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check(path: Path) -> None:
    """Raise an error unless a film of this name can be written.

    Raises:
        SettingError: another suffix than .mp4 and .gif.
        MissingPackageError: the package that writes such a film is not installed.
    """
    if path.suffix not in KINDS:
        raise SettingError(f"{path}: films are written as {' or '.join(KINDS)}; give a name that ends in one of these.")
    module, package = _NEEDS[path.suffix]
    try:
        import_module(module)
    except ImportError as error:
        raise MissingPackageError(f"{path} cannot be written ({error}): `pip install {package}`.") from error


def _mp4(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    with import_module("imageio.v2").get_writer(path, format="FFMPEG", fps=rate, macro_block_size=2) as writer:
        for picture in pictures:
            height, width = (side // 2 * 2 for side in picture.shape[:2])  # H.264 needs even sides
            writer.append_data(picture[:height, :width])


def _gif(path: Path, pictures: Iterable[NDArray[np.uint8]], rate: float) -> None:
    # Pillow itself: imageio would first collect all pictures, 0.7 GB for an episode of 1,000 steps.
    from PIL import Image

    images = map(Image.fromarray, pictures)
    first = next(images).quantize(256)
    # One palette for all and no dithering: a part of the picture that does not move takes no space.
    rest = (image.quantize(palette=first, dither=Image.Dither.NONE) for image in images)
    first.save(path, "GIF", save_all=True, append_images=rest, duration=round(100 / rate) * 10, loop=0)
