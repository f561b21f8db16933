"""Reading pickles of arrays safely.

A pickle is a program: `pickle.load` calls every function that it names. Here only the names that such files need are
known, and what they stand for is ours: arrays are built from bytes that are all there, of types of numbers alone. The
interpreter is Python's own, since the one in C takes memory for whatever number a file names.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import IO, Any, ClassVar

import numpy as np

from neoteny.errors import DataError

__all__ = ["labelled_images", "read_pickle", "whole_numbers"]

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
    named = {key.decode(errors="replace") if isinstance(key, bytes) else str(key): found[key] for key in found}
    return {key: value.made if isinstance(value, _Array) else value for key, value in named.items()}


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
    return images, whole_numbers(batch[labels])


def whole_numbers(values: object) -> np.ndarray:
    """Labels, a list or an array, as [N] int64; empty if they are anything else.

    >>> whole_numbers([3, 1]), whole_numbers([0.5]), whole_numbers(None)
    (array([3, 1]), array([], dtype=int64), array([], dtype=int64))
    """
    if isinstance(values, np.ndarray):
        found = values
    elif isinstance(values, list) and all(isinstance(value, (int, np.integer)) for value in values):
        try:
            found = np.asarray(values)
        except (ValueError, OverflowError):
            found = np.empty(0)
    else:
        found = np.empty(0)
    return found.astype(np.int64) if found.ndim == 1 and found.dtype.kind in "iu" else np.empty(0, np.int64)


class _Array:
    """An array that is being read: NumPy's own must not be built from what a stranger's file says about memory."""

    def __init__(self) -> None:
        self.made: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        self.made = _from_bytes(content, dtype, shape, "F" if fortran else "C")


class _Type:
    """A type of numbers that is being read: a kind and a size of `_TYPES`, and an order of bytes."""

    def __init__(self, code: Any, *_: Any):
        code = code.decode() if isinstance(code, bytes) else code
        if code not in _TYPES:
            raise DataError(
                f"it has arrays of type {code!r}, which no data set needs. Get it from its official source."
            )
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise ValueError(f"an order of bytes {order!r}")
        self.order = order

    def numpy(self) -> np.dtype:
        """The type as NumPy's."""
        return np.dtype(self.order + self.code)


_TYPES = ("b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), *(f"f{size}" for size in (2, 4, 8)))


def _from_bytes(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """An array of bytes that are all there."""
    if not isinstance(content, bytes) or not isinstance(dtype, _Type) or not isinstance(shape, tuple):
        raise ValueError("an array that is not made of bytes")
    if not all(type(side) is int and side >= 0 for side in shape):
        raise ValueError(f"an array of shape {shape}")
    kind = dtype.numpy()
    if len(content) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"{len(content)} bytes for an array of shape {shape}")
    return np.frombuffer(content, kind).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: Any, *_: Any) -> _Array:
    """An array is begun by this call; what is in it follows."""
    if kind is not _ndarray:
        raise ValueError("an array of another class")
    return _Array()


def _ndarray(*_: Any) -> None:
    """NumPy's class of arrays, which such files name and never call: it would take any memory for an array's."""
    raise DataError("it would call numpy.ndarray, which no data set needs: it may be malicious.")


def _scalar(dtype: Any, content: Any) -> Any:
    return _from_bytes(content, dtype, (), "C")[()]


def _frombuffer(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
    """NumPy writes arrays as a call of this in protocol 5."""
    return _from_bytes(bytes(content) if isinstance(content, bytearray) else content, dtype, shape, order)


def _latin1(text: Any, encoding: Any) -> bytes:
    """Python 3 writes bytes as a call of this in the older protocols."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _latin1,
    **{
        (f"numpy.{core}.{module}", name): call
        for core in ("core", "_core")
        for module, name, call in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}


_Interpreter: Any = pickle._Unpickler  # type: ignore[attr-defined]


class _Unpickler(_Interpreter):
    """Python's own interpreter of pickles, which calls nothing but what `_ALLOWED` has."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return _ALLOWED[module_name, global_name]
        except KeyError:
            raise DataError(
                f"it would have Python load {module_name}.{global_name}, which no data set needs: "
                "it may be malicious. Get the file from its official source."
            ) from None

    def load_build(self) -> None:
        """A state is set only of arrays and types that are being read, not of what builds them."""
        if not isinstance(self.stack[-2], (_Array, _Type)):
            raise ValueError("a state of something that has none")
        super().load_build()

    dispatch: ClassVar[dict[int, Any]] = {**_Interpreter.dispatch, pickle.BUILD[0]: load_build}
