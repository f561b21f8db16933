"""Pickles of arrays are read; anything else is refused before it runs."""

import io
import os
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neoteny.data.pickles import labelled_images, read_pickle
from neoteny.errors import DataError

ARRAY = np.arange(24, dtype=np.uint8).reshape(2, 12)
BATCH = {
    "data": ARRAY,
    "labels": [3, 1],
    b"mean": np.linspace(0, 1, 3),
    "one": np.int64(5),
    "columns": np.asfortranarray(ARRAY),
    "bytes": b"\xff\x00",
}


def read(content):
    return read_pickle(io.BytesIO(content), "batch_1")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("core", [b"numpy._core.", b"numpy.core."])
def test_every_protocol_of_both_numpys(protocol, core):
    content = pickle.dumps(BATCH, protocol)
    if protocol < 4:  # later ones write how long a name is before it
        content = content.replace(b"numpy._core.", core)
    found = read(content)
    assert list(found) == ["data", "labels", "mean", "one", "columns", "bytes"]
    for name in ("data", "columns"):
        np.testing.assert_array_equal(found[name], ARRAY)
        assert found[name].dtype == np.uint8
    np.testing.assert_array_equal(found["mean"], BATCH[b"mean"])
    assert found["labels"] == [3, 1]
    assert found["bytes"] == b"\xff\x00"


def test_text_of_python_2():
    # {'fine_labels': [7], 'data': b'\xff'}, as Python 2 writes it in protocol 2: its text is bytes
    content = b"\x80\x02}q\x00(U\x0bfine_labelsq\x01]q\x02K\x07aU\x04dataq\x03U\x01\xffq\x04u."
    assert pickletools.optimize(content)
    assert read(content) == {"fine_labels": [7], "data": b"\xff"}


class Malicious:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("call", "name"),
    [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (np.load, "load"), (__import__, "__import__")],
)
def test_code_is_refused_and_does_not_run(tmp_path, protocol, call, name):
    mark = tmp_path / "it ran"
    argument = f"touch '{mark}'" if call is os.system else f"open({str(mark)!r}, 'w')"
    content = pickle.dumps({"data": Malicious(call, argument)}, protocol)
    with pytest.raises(DataError, match=rf"batch_1 is refused.*{name}, which no data set needs.*official source"):
        read(content)
    assert not mark.exists()


def test_code_in_an_array_of_objects_is_refused():
    array = np.array([Malicious(os.system, "true"), 1], dtype=object)
    with pytest.raises(DataError, match="is refused"):
        read(pickle.dumps({"data": array}))


def test_code_reached_through_what_is_allowed_is_refused():
    for name in ("ndarray.__init__", "dtype.__reduce__.__call__"):
        content = b"\x80\x04\x8c\x05numpy\x8c" + bytes([len(name)]) + name.encode() + b"\x93."
        with pytest.raises(DataError, match="is refused"):
            read(content)
    encode = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R."
    with pytest.raises(DataError, match="corrupt"):
        read(encode)


@given(kept=st.integers(0, len(pickle.dumps(BATCH)) - 1))
def test_a_truncated_pickle(kept):
    with pytest.raises(DataError, match=r"batch_1 is truncated or corrupt.*Fetch the file again"):
        read(pickle.dumps(BATCH)[:kept])


@given(place=st.integers(0, len(pickle.dumps(BATCH)) - 1), flip=st.integers(1, 255))
def test_a_damaged_pickle_is_read_or_refused_but_nothing_else(place, flip):
    content = bytearray(pickle.dumps(BATCH))
    content[place] ^= flip
    try:
        assert isinstance(read(bytes(content)), dict)
    except DataError as error:
        assert "batch_1" in str(error)


def test_no_dict():
    with pytest.raises(DataError, match=r"holds a list, not a dict"):
        read(pickle.dumps([1, 2]))


def test_arrays_are_not_made_by_calling_numpy():
    """`numpy.ndarray(shape, dtype, buffer, offset)` would read and write memory as a stranger says."""
    call = b"\x80\x02cnumpy\nndarray\n(K\x04X\x02\x00\x00\x00u1C\x01xtR."
    for content in (call, call.replace(b"tR.", b"t\x81."), call.replace(b"tR.", b"t}\x92.")):
        with pytest.raises(DataError):
            read(content)


@pytest.mark.parametrize(
    ("shape", "content"), [((10**6,), b"xy"), ((-1,), b"xy"), ((2.0,), b"xy"), ([2], b"xy"), ((2,), [1, 2])]
)
def test_an_array_is_as_large_as_its_bytes(shape, content):
    class Claims:
        def __reduce__(self):
            build, begun, (version, _, dtype, fortran, _) = np.zeros(2, np.uint8).__reduce__()
            return build, begun, (version, shape, dtype, fortran, content)

    with pytest.raises(DataError, match="corrupt"):
        read(pickle.dumps({"data": Claims()}))


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([1j]), np.zeros(1, "V8"), np.zeros(1, "M8[s]"), np.zeros(2, "O")]
)
def test_only_numbers_are_read(array):
    with pytest.raises(DataError, match="is refused"):
        read(pickle.dumps({"data": array}))


def test_what_builds_arrays_cannot_be_changed():
    before = read(pickle.dumps(BATCH))
    for module, name in ((b"_codecs", b"encode"), (b"numpy", b"dtype"), (b"numpy", b"ndarray")):
        with pytest.raises(DataError, match="corrupt"):
            read(b"\x80\x02c" + module + b"\n" + name + b"\n}X\x01\x00\x00\x00aK\x01sb.")
    np.testing.assert_array_equal(read(pickle.dumps(BATCH))["data"], before["data"])


def test_a_large_number_takes_no_memory():
    """A place in the memo, and a length, of billions: the interpreter in C would make room for them."""
    assert read(b"\x80\x04}r\xff\xff\xff\x7f.") == {}
    with pytest.raises(DataError, match="corrupt"):
        read(b"\x80\x04B\xff\xff\xff\x7fabc.")


def test_labels_that_refer_to_one_another_are_no_labels():
    nested: list = [0] * 100
    for _ in range(8):
        nested = [nested] * 100
    batch = read(pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": nested}))
    assert labelled_images(batch, "labels", "batch_1", "")[1].size == 0
