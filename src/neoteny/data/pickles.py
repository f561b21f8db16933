"""Reading pickles of arrays without running what a pickle can name.

A pickle is a program: `pickle.load` calls whatever it names. Here it can name only what NumPy's arrays, numbers and
bytes are made with; everything else is refused before it is imported.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

from neoteny.errors import DataError

__all__ = ["read_pickle", "whole_numbers"]


def read_pickle(file: IO[bytes], path: str | Path) -> dict[str, Any]:
    """The dict in a pickle of arrays, lists, numbers and text, as CIFAR and ImageNet32 are distributed.

    Args:
        file: the pickle, of Python 2 or 3.
        path: where it is from, for messages.

    Returns:
        The dict; keys that are bytes are decoded, as those of Python 2 are its text.

    Raises:
        DataError: the pickle is truncated or damaged, names anything else, or is no dict.

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
    except Exception as error:  # a damaged program can fail in any way
        raise DataError(
            f"{path} is truncated or corrupt: it does not unpickle ({type(error).__name__}: {error}). "
            "Fetch the file again."
        ) from None
    if not isinstance(found, dict):
        raise DataError(f"{path} is no data set: it holds a {type(found).__name__}, not a dict. Fetch the file again.")
    return {key.decode(errors="replace") if isinstance(key, bytes) else str(key): found[key] for key in found}


def whole_numbers(values: object) -> np.ndarray:
    """Labels from a pickle, a list or an array, as [N] int64; empty if they are anything else.

    >>> whole_numbers([3, 1]), whole_numbers([0.5]), whole_numbers(None)
    (array([3, 1]), array([], dtype=int64), array([], dtype=int64))
    """
    try:
        found = np.asarray(values)
    except ValueError:  # lists of unequal lengths
        found = np.empty(0)
    return found.astype(np.int64) if found.ndim == 1 and found.dtype.kind in "iu" else np.empty(0, np.int64)


def _latin1(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in the older protocols."""
    if encoding != "latin1":
        raise ValueError(f"bytes encoded as {encoding!r}")
    return text.encode("latin1")


def _frombuffer(buffer: bytes, dtype: np.dtype, shape: tuple[int, ...], order: str) -> np.ndarray:
    """How NumPy writes arrays in protocol 5."""
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
