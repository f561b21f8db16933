"""Reading pickles of arrays safely.

A pickle is a program: `pickle.load` calls every function that it names. Here only the functions that build NumPy's
arrays, numbers and bytes are allowed; all others are refused before they are imported.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from neoteny.errors import DataError

__all__ = ["labelled_images", "read_pickle"]

_VALUES = 3 * 32 * 32  # of an image


def read_pickle(file: IO[bytes], path: str | Path) -> dict[str, Any]:
    """The dict in a pickle of arrays, lists, numbers and text, as CIFAR and ImageNet32 are distributed.

    Args:
        file: the pickle, of Python 2 or 3.
        path: where it is from, for messages.

    Returns:
        The dict; keys that are bytes (text of Python 2) are decoded.

    Raises:
        DataError: the pickle is truncated or damaged, names another function, or does not hold a dict.

    >>> from io import BytesIO
    >>> read_pickle(BytesIO(pickle.dumps({b"labels": [3, 1]})), "a.pkl")
    {'labels': [3, 1]}
    >>> read_pickle(BytesIO(pickle.dumps(print)), "b.pkl")
    Traceback (most recent call last):
    neoteny.errors.DataError: b.pkl is refused: it would have Python load builtins.print, which no data set needs...
    """
    try:
        found = _Unpickler(file, encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{path} is refused: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(
            f"{path} is truncated or corrupt: it does not unpickle ({type(error).__name__}: {error}). "
            "Fetch the file again."
        ) from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is no data set: it holds a {type(found).__name__}, not a dict. Fetch the file again.")
    return {key.decode(errors="replace") if isinstance(key, bytes) else str(key): found[key] for key in found}


def labelled_images(
    batch: dict[str, Any], labels: str, path: str | Path, cure: str, count: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a batch, as CIFAR and ImageNet32 are distributed.

    Args:
        batch: from `read_pickle`.
        labels: the key of the labels; the images are under `data`.
        path: where it is from, for messages.
        cure: what to do if it is wrong, for messages.
        count: the number of images, if it is known.

    Returns:
        Images [n, 3072] uint8, and labels [n] int64, which are empty if they are not a list of whole numbers.

    Raises:
        DataError: a key is missing, or the images have another type or shape.
    """
    for key in ("data", labels):
        if key not in batch:
            raise DataError(f"{path} has no {key!r} (it has {', '.join(map(repr, batch))}). {cure}")
    images = batch["data"]
    array = isinstance(images, np.ndarray)
    if not array or images.dtype != np.uint8 or images.shape[1:] != (_VALUES,) or count not in (None, len(images)):
        what = f"{images.dtype} of shape {images.shape}" if array else f"a {type(images).__name__}"
        raise DataError(f"{path}: 'data' is {what}, not uint8 of shape ({count or 'n'}, {_VALUES}). {cure}")
    return images, _whole_numbers(batch[labels])


def _whole_numbers(values: object) -> np.ndarray:
    """Labels, a list or an array, as [N] int64; empty if they are anything else.

    >>> _whole_numbers([3, 1]), _whole_numbers([0.5]), _whole_numbers(None)
    (array([3, 1]), array([], dtype=int64), array([], dtype=int64))
    """
    try:
        found = np.asarray(values)
    except ValueError:  # lists of unequal lengths
        found = np.empty(0)
    return found.astype(np.int64) if found.ndim == 1 and found.dtype.kind in "iu" else np.empty(0, np.int64)


def _latin1(text: str, encoding: str) -> bytes:
    """Python 3 writes bytes as a call of this in the older protocols."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _frombuffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """NumPy writes arrays as a call of this in protocol 5."""
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)  # pyright: ignore[reportCallIssue, reportArgumentType]


_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): call
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", np.ndarray(0).__reduce__()[0]),
            ("multiarray", "scalar", np.uint8(0).__reduce__()[0]),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise DataError(
                f"it would have Python load {module_name}.{global_name}, which no data set needs: "
                "it may be malicious. Get the file from its official source."
            ) from None
