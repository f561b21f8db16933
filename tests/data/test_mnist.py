"""MNIST from a folder, from a server on this machine, and the ways in which that can fail."""

import gzip
import hashlib
import importlib
import struct
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from neoteny.data import mnist
from neoteny.errors import DataError

module = importlib.import_module("neoteny.data.mnist")

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
LABELS = np.arange(6, dtype=np.uint8)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A small MNIST on a server of this machine; yields what it serves by name, and a log of what was asked for."""
    contents = {file.name: idx(array) for file, array in zip(module._MNIST.train, (IMAGES, LABELS), strict=True)}
    answers = {name: gzip.compress(content) for name, content in contents.items()}
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            folder, _, name = self.path.rpartition("/")
            answer = answers.get(name)
            if folder == "/broken" or answer is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    base = f"http://127.0.0.1:{server.server_port}"
    checked = tuple(
        replace(
            file,
            sha256=hashlib.sha256(answers[file.name]).hexdigest(),
            content_sha256=hashlib.sha256(contents[file.name]).hexdigest(),
            size=len(answers[file.name]),
        )
        for file in module._MNIST.train
    )
    mirrors = (f"{base}/broken/", f"{base}/mnist/")
    monkeypatch.setattr(module, "_MNIST", replace(module._MNIST, train=checked, mirrors=mirrors))
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    yield answers, asked
    server.shutdown()
    thread.join()
    server.server_close()


def cache(tmp_path):
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock")


def is_served(data):
    np.testing.assert_array_equal(data[0], IMAGES.reshape(6, 784))
    np.testing.assert_array_equal(data[1], LABELS)


def test_real_data(mnist_dir):
    images, labels = mnist(mnist_dir)
    assert (images.shape, images.dtype) == ((60_000, 784), np.uint8)
    assert (labels.shape, labels.dtype) == ((60_000,), np.int64)
    assert labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert images.mean() == pytest.approx(33.318421)
    images, labels = mnist(mnist_dir, train=False)
    assert images.shape == (10_000, 784)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]


def test_fetched_once_from_the_first_mirror_that_has_it(served, tmp_path, capsys):
    _, asked = served
    is_served(mnist())
    assert [path.split("/")[1] for path in asked] == ["broken", "mnist"] * 2
    assert cache(tmp_path) == [file.name for file in module._MNIST.train]
    assert "train-images-idx3-ubyte.gz" in capsys.readouterr().err  # the progress bar
    is_served(mnist())
    assert len(asked) == 4


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda b: b[:-1], "another file"),
        (lambda b: b"", "another file"),
        (lambda b: b"<html>", "another file"),
        (lambda b: b[:99] + b"?" + b[100:], "wrong checksum"),
    ],
)
def test_a_wrong_file_is_not_kept(served, tmp_path, spoil, cause):
    answers, _ = served
    whole = dict(answers)
    answers.update({name: spoil(answer) for name, answer in whole.items()})
    with pytest.raises(DataError, match=rf"train-images.* could not be fetched:(.|\n)*{cause}(.|\n)*--data-dir"):
        mnist()
    assert cache(tmp_path) == []
    answers.update(whole)
    is_served(mnist())


def test_what_an_interrupted_download_left_is_not_taken_for_whole(served, tmp_path):
    answers, _ = served
    folder = tmp_path / "cache" / "mnist"
    folder.mkdir(parents=True)
    name = module._MNIST.train[0].name
    (folder / name).write_bytes(answers[name][:100])
    is_served(mnist())
    assert (folder / name).read_bytes() == answers[name]


def test_no_connection(served, monkeypatch):
    monkeypatch.setattr(module, "_MNIST", replace(module._MNIST, mirrors=("http://127.0.0.1:9/mnist/",)))
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9(.|\n)*ConnectionError(.|\n)*by hand"):
        mnist()


def test_a_cache_that_cannot_be_written(served, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot be written(.|\n)*the disk.*NEOTENY_CACHE"):
        mnist()


@pytest.mark.parametrize("inner", ["", "mnist"])
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_folder_of_the_users(served, tmp_path, monkeypatch, inner, by):
    answers, asked = served
    folder = tmp_path / "data" / inner
    folder.mkdir(parents=True)
    for name, answer in answers.items():
        (folder / name).write_bytes(
            gzip.compress(gzip.decompress(answer), 1)
        )  # recompressed: another file, same content
    if by == "argument":
        is_served(mnist(tmp_path / "data"))
    else:
        monkeypatch.setenv("NEOTENY_DATA", str(tmp_path / "data"))
        is_served(mnist())
    assert asked == []


def test_the_argument_goes_before_the_environment(served, tmp_path, monkeypatch):
    answers, _ = served
    for name, answer in answers.items():
        (tmp_path / name).write_bytes(answer)
    monkeypatch.setenv("NEOTENY_DATA", str(tmp_path / "nowhere"))
    is_served(mnist(tmp_path))
    with pytest.raises(DataError, match="NEOTENY_DATA names"):
        mnist()


def test_missing_truncated_and_corrupt_files(served, tmp_path):
    answers, asked = served
    with pytest.raises(DataError, match=r"train-images.* is missing.*Put the file there"):
        mnist(tmp_path)
    for name, answer in answers.items():
        (tmp_path / name).write_bytes(answer)
    path, whole = tmp_path / module._MNIST.train[0].name, answers[module._MNIST.train[0].name]
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match=r"train-images.* is truncated"):
        mnist(tmp_path)
    other = IMAGES.copy()
    other[3, 2, 1] ^= 1
    path.write_bytes(gzip.compress(idx(other)))
    with pytest.raises(DataError, match=r"train-images.* is corrupt: its content has the SHA-256"):
        mnist(tmp_path)
    assert path.exists()  # what the user gave is never touched
    assert asked == []
    path.write_bytes(whole)
    is_served(mnist(tmp_path))
