"""The IDX format of MNIST: two zero bytes, a type, the number of dimensions, their sizes (big-endian), the values."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import zlib
from pathlib import Path

import numpy as np

from neoteny.errors import DataError

__all__ = ["read_idx"]

_UNSIGNED_BYTE = 8


def read_idx(path: str | os.PathLike[str], sha256: str | None = None) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file; gzipped if its name ends in `.gz`.
        sha256: checksum of its *uncompressed* content.

    Returns:
        A writable uint8 array with the dimensions from the file.

    Raises:
        DataError: the file is missing, truncated, damaged, of another format, or has another checksum.

    Source: http://yann.lecun.com/exdb/mnist (the format's description).
    """
    path = Path(path)
    cure = "Fetch the file again."
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise DataError(f"{path} is missing. Put the file there.") from None
    except EOFError:
        raise DataError(f"{path} is truncated: its gzip stream ends early. {cure}") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is corrupt: it does not unzip ({error}). {cure}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}. Check that it is a file and that you may read it.") from None
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4]!r}. {cure}")
    header = 4 + 4 * content[3]
    shape = tuple(int(size) for size in np.frombuffer(content[4:header], ">u4"))
    if len(content) != header + math.prod(shape):
        kind = "truncated" if len(content) < header + math.prod(shape) else "corrupt"
        raise DataError(
            f"{path} is {kind}: of the {math.prod(shape)} bytes of its {shape} values "
            f"{len(content) - header} are there. {cure}"
        )
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError(f"{path} is corrupt: its content has the SHA-256 {found}, not {sha256}. {cure}")
    return np.frombuffer(bytearray(content[header:]), np.uint8).reshape(shape)
