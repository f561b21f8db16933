"""Entries of the cache are written once, whole or not at all."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neoteny.data.cache import cache_folder, cached, entry, identity
from neoteny.errors import DataError

VALUES = np.arange(30, dtype=np.int64).reshape(5, 6)


def decode(allocate):
    arrays = allocate({"values": (VALUES.shape, VALUES.dtype), "bytes": ((3,), np.uint8)})
    arrays["values"][:] = VALUES
    arrays["bytes"][1] = 7


def never(allocate):
    raise AssertionError("decoded again")


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_decoded_once_and_mapped_read_only(cache):
    for how in (decode, never):
        values, some_bytes = cached("numbers", "key", ["values", "bytes"], how)
        np.testing.assert_array_equal(values, VALUES)
        assert some_bytes.tolist() == [0, 7, 0]
        assert isinstance(values.base, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1
    assert visible(cache / "numbers") == [entry("numbers", "key").name]
    cached("numbers", "another key", ["values"], decode)
    assert len(visible(cache / "numbers")) == 2


CODE = """
import sys, time
from pathlib import Path
import numpy as np
from neoteny.data.cache import cached

def decode(allocate):
    with open(sys.argv[1], "a") as log:
        log.write("decoding\\n")
    values = allocate({"values": ((1000,), np.int64)})["values"]
    for place in range(1000):
        values[place] = place
        time.sleep(0.0005)

(values,) = cached("numbers", "key", ["values"], decode)
assert (values == np.arange(1000)).all()
assert "torch" not in sys.modules
"""


def test_several_processes_at_once_decode_it_once(cache, tmp_path):
    command = [sys.executable, "-c", CODE, str(tmp_path / "log")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 0
    assert (tmp_path / "log").read_text() == "decoding\n"


def test_what_a_killed_process_left_is_not_taken_for_whole(cache):
    code = (
        "import os, signal\nfrom neoteny.data.cache import cached\n"
        "def decode(allocate):\n"
        "    allocate({'values': ((5, 6), 'int64')})['values'][0] = 1\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cached('numbers', 'key', ['values'], decode)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode != 0
    (left,) = visible(cache / "numbers")
    assert left.startswith(".")
    np.testing.assert_array_equal(cached("numbers", "key", ["values"], decode)[0], VALUES)
    assert visible(cache / "numbers") == [entry("numbers", "key").name]


@pytest.mark.parametrize("spoil", ["cut", "empty", "gone"])
def test_a_spoilt_entry_is_decoded_anew(cache, spoil):
    cached("numbers", "key", ["values", "bytes"], decode)
    path = entry("numbers", "key") / "values.npy"
    match spoil:
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "empty":
            path.write_bytes(b"")
        case "gone":
            path.unlink()
    np.testing.assert_array_equal(cached("numbers", "key", ["values"], decode)[0], VALUES)


def test_nothing_is_left_of_decoding_that_failed(cache):
    def fails(allocate):
        allocate({"values": ((5, 6), np.int64)})
        raise DataError("the source is corrupt")

    with pytest.raises(DataError, match="the source is corrupt"):
        cached("numbers", "key", ["values"], fails)
    assert visible(cache / "numbers") == []


def test_too_little_disk(cache, monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=1_000_000))
    with pytest.raises(
        DataError, match=r"cache/numbers has too little room .* needs 1.5 MB, and 1.0 MB .*NEOTENY_CACHE"
    ):
        cached("numbers", "key", ["values"], lambda allocate: allocate({"values": ((1500, 1000), np.uint8)}))
    assert visible(cache / "numbers") == []


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve room on a disk")
def test_a_disk_that_fills_meanwhile(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match=r"cannot be written: .*No space left.*NEOTENY_CACHE"):
        cached("numbers", "key", ["values"], decode)
    assert visible(cache / "numbers") == []


def test_a_cache_that_cannot_be_written(cache):
    cache.write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot be written.*NEOTENY_CACHE"):
        cached("numbers", "key", ["values"], decode)


def test_identity_changes_with_the_files(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"1")
        os.utime(path, ns=(1, 1))
    keys = {identity(paths), identity(paths[:1])}
    os.utime(paths[0], ns=(1, 2))
    keys.add(identity(paths))
    paths[1].write_bytes(b"22")
    os.utime(paths[1], ns=(1, 1))
    keys.add(identity(paths))
    assert len(keys) == 4
    assert identity(paths) in keys
    paths[0].unlink()
    with pytest.raises(DataError, match=r"a cannot be read"):
        identity(paths)


def test_where_the_cache_is(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("NEOTENY_CACHE")
    assert cache_folder().name == "neoteny"
    assert cache_folder().is_relative_to(Path.home())
