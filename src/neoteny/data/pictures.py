"""Reading compressed pictures with Pillow, which is asked for only where there are some to read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from neoteny.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["decoders", "picture"]


@contextmanager
def decoders(folder: Path) -> Iterator[ThreadPoolExecutor]:
    """Threads that decode pictures: Pillow decodes several at once.

    Args:
        folder: where the pictures are, for the message.

    Raises:
        DataError: Pillow is not installed.
    """
    try:
        import PIL  # noqa: F401
    except ImportError:
        raise DataError(f"{folder} holds pictures, and reading them needs Pillow: pip install pillow") from None
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield pool


def picture(file: Path | IO[bytes], place: object, draft: int | None = None) -> Image.Image:
    """A picture in colours.

    Args:
        file: its file.
        place: where it is, for messages.
        draft: pixels a side that are enough: a JPEG is then decoded at a lower resolution, several times faster.

    Raises:
        DataError: it is no picture, truncated or corrupt.
    """
    from PIL import Image

    try:
        with Image.open(file) as opened:
            if draft is not None:
                opened.draft("RGB", (draft, draft))
            return opened.convert("RGB")
    except Exception as error:  # a damaged file can fail in any way
        raise DataError(
            f"{place} is no image, truncated or corrupt ({type(error).__name__}: {error}). Copy it again, or remove it."
        ) from None
