"""A data set of four gzipped IDX files: images and labels to train on, images and labels to test on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from neoteny.data.cache import cache_folder
from neoteny.data.download import Remote
from neoteny.data.files import locate, named_folder
from neoteny.data.idx import read_idx

if TYPE_CHECKING:
    import numpy as np

__all__ = ["IdxFile", "IdxSet"]


@dataclass(frozen=True)
class IdxFile:
    """One of the files.

    Attributes:
        name: its name.
        sha256: checksum of the official gzipped file, for downloads.
        content_sha256: checksum of the IDX file in it, for reading.
        size: bytes of the official gzipped file.
    """

    name: str
    sha256: str
    content_sha256: str
    size: int


@dataclass(frozen=True)
class IdxSet:
    """The data set.

    Attributes:
        name: its name, and that of its folder.
        mirrors: addresses of folders that have the files.
        train: images and labels to train on.
        test: images and labels to test on.
        installed: folders where a package of the system puts the files.
    """

    name: str
    mirrors: Sequence[str]
    train: tuple[IdxFile, IdxFile]
    test: tuple[IdxFile, IdxFile]
    installed: Sequence[Path] = ()

    def read(self, data_dir: str | os.PathLike[str] | None, train: bool) -> tuple[np.ndarray, np.ndarray]:
        """Images [N, pixels] uint8, row by row; labels [N] int64.

        Raises:
            DataError: a file is missing, truncated, corrupt, or could not be downloaded.
        """
        arrays = []
        for file in self.train if train else self.test:
            remote = Remote(file.name, tuple(mirror + file.name for mirror in self.mirrors), file.sha256, file.size)
            arrays.append(read_idx(locate(self.name, remote, data_dir, self.installed), file.content_sha256))
        images, labels = arrays
        return images.reshape(len(images), -1), labels.astype("int64")

    def find(self, data_dir: str | os.PathLike[str] | None) -> Path | None:
        """The folder with all four files, in the user's folder or else in the cache, or where a package put them."""
        folder = named_folder(data_dir) or cache_folder()
        for place in (folder / self.name, *self.installed, folder):
            if all((place / file.name).is_file() for file in (*self.train, *self.test)):
                return place
        return None
