import gzip
import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from neoteny.data.idx import read_idx
from neoteny.errors import DataError

unhurried = settings(deadline=None)

ARRAY = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "values-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(ARRAY)))
    return path


@unhurried
@given(array=npst.arrays(np.uint8, npst.array_shapes(max_dims=4, max_side=6)), level=st.integers(0, 9))
def test_round_trip(tmp_path_factory, array, level):
    folder = tmp_path_factory.mktemp("idx")
    for name, content in [("a.gz", gzip.compress(idx(array), level)), ("a", idx(array))]:
        (folder / name).write_bytes(content)
        found = read_idx(folder / name, hashlib.sha256(idx(array)).hexdigest())
        np.testing.assert_array_equal(found, array)
        assert found.flags.writeable


@pytest.mark.parametrize("kept", [0, 1, 5, 11, 20, 40, -9, -1])
def test_a_truncated_gzip_file(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"{path.name} is (truncated|not an IDX|corrupt).*Fetch the file again"):
        read_idx(path)


@pytest.mark.parametrize("kept", [0, 3, 4, 10, 16, 75])
def test_a_truncated_plain_file(tmp_path, kept):
    path = tmp_path / "values"
    path.write_bytes(idx(ARRAY)[:kept])
    with pytest.raises(DataError, match=r"values is (truncated|not an IDX file)"):
        read_idx(path)


@unhurried
@given(place=st.integers(0, 75), flip=st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory, place, flip):
    path = tmp_path_factory.mktemp("idx") / "values"
    content = bytearray(idx(ARRAY))
    checksum = hashlib.sha256(content).hexdigest()
    content[place] ^= flip
    path.write_bytes(content)
    with pytest.raises(DataError, match="values is"):
        read_idx(path, checksum)


def test_a_corrupt_gzip_file(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"is corrupt"):
        read_idx(path)
    path.write_bytes(b"<html>404 Not Found</html>")
    with pytest.raises(DataError, match=r"is corrupt: it does not unzip"):
        read_idx(path)


def test_too_much(path):
    path.write_bytes(gzip.compress(idx(ARRAY) + b"more"))
    with pytest.raises(DataError, match=r"is corrupt: of the 60 bytes .* 64 are there"):
        read_idx(path)


def test_missing_or_no_file(path, tmp_path):
    with pytest.raises(DataError, match="is missing"):
        read_idx(tmp_path / "nowhere.gz")
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path)
