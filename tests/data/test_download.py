"""Downloads that break, go on, start over, or bring something else."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from neoteny.data.download import download
from neoteny.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def path(cache):
    return cache / "some" / "file.bin"


@pytest.fixture
def remote(server):
    return server.offer("file.bin", CONTENT)


def part(path):
    return path.with_name("file.bin.part")


def visible(path):
    return [found.name for found in path.parent.iterdir() if not found.name.startswith(".")]


def test_fetched_once(server, remote, path, capsys):
    assert download(remote, path) == path
    assert path.read_bytes() == CONTENT
    assert "file.bin" in (shown := capsys.readouterr()).err  # the progress bar
    assert shown.out == ""
    download(remote, path)
    assert server.asked == [("file.bin", None)]


def test_broken_in_the_middle_and_gone_on_with(server, remote, path):
    server.breaks = 1 << 17
    for kept in (1 << 17, 1 << 18):
        with pytest.raises(DataError, match=rf"{kept:,} of 300,000 bytes, which are kept(.|\n)*try again"):
            download(remote, path)
        assert not path.exists()
        assert part(path).read_bytes() == CONTENT[:kept]
    download(remote, path)
    assert path.read_bytes() == CONTENT
    assert visible(path) == ["file.bin"]
    assert [asked for _, asked in server.asked] == [None, "bytes=131072-", "bytes=262144-"]


@pytest.mark.parametrize("lengths", [True, False])
def test_a_server_without_ranges_starts_over(server, remote, path, lengths):
    server.ranges, server.lengths, server.breaks = False, lengths, 1 << 17
    with pytest.raises(DataError, match=r"131,072 of 300,000"):
        download(remote, path)
    server.breaks = None
    download(remote, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == [None, "bytes=131072-"]


def test_the_next_mirror_goes_on_where_the_first_one_broke(server, remote, path):
    part(path).parent.mkdir(parents=True)
    part(path).write_bytes(CONTENT[:1000])
    remote = replace(remote, urls=(f"{server.url}/nowhere", "http://127.0.0.1:9/", *remote.urls))
    download(remote, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [("nowhere", "bytes=1000-"), ("file.bin", "bytes=1000-")]


def test_a_part_of_another_version_is_thrown_away(server, remote, path):
    part(path).parent.mkdir(parents=True)
    part(path).write_bytes(b"<html>Please log in")
    download(remote, path)
    assert path.read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=19-", None]


@pytest.mark.parametrize("begun", [CONTENT, CONTENT + b"?", CONTENT[:-1] + b"?"])
def test_a_part_that_is_as_long_as_the_file_or_longer(server, remote, path, begun):
    part(path).parent.mkdir(parents=True)
    part(path).write_bytes(begun)
    download(remote, path)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == (0 if begun == CONTENT else 1)


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("served", [CONTENT[:-1] + b"?", CONTENT + b"?", CONTENT[:200_000], b"<html>"])
def test_a_changed_file_is_noticed(server, remote, path, served, lengths):
    server.contents["file.bin"], server.lengths = served, lengths
    for begun in (None, CONTENT[:50_000]):
        if begun:
            part(path).write_bytes(begun)
        with pytest.raises(DataError, match=r"file.bin could not be fetched(.|\n)*(another file|bytes|416)"):
            download(remote, path)
        assert not path.exists()
    server.contents["file.bin"] = CONTENT
    download(remote, path)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("spoilt", [CONTENT[:100], CONTENT[:-1] + b"?"])
def test_a_spoilt_file_of_that_name_is_fetched_anew(remote, path, spoilt):
    path.parent.mkdir(parents=True)
    path.write_bytes(spoilt)
    download(remote, path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_sends_another_range(server, remote, path, monkeypatch):
    part(path).parent.mkdir(parents=True)
    part(path).write_bytes(CONTENT[:1000])
    send_header = "http.server.BaseHTTPRequestHandler.send_header"
    import http.server

    original = http.server.BaseHTTPRequestHandler.send_header
    monkeypatch.setattr(
        send_header,
        lambda self, name, value: original(self, name, "bytes 7-9/300000" if name == "Content-Range" else value),
    )
    with pytest.raises(DataError, match="another range"):
        download(remote, path)
    assert part(path).read_bytes() == CONTENT[:1000]


def test_too_little_disk(server, remote, path, monkeypatch):
    import shutil

    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=299_999))
    with pytest.raises(DataError, match=r"too little room for file.bin: it needs 0.3 MB.*free.*NEOTENY_CACHE"):
        download(remote, path)
    assert server.asked == []
    part(path).write_bytes(CONTENT[:2])  # what is there needs no room any more
    download(remote, path)


def test_several_at_once_fetch_it_once(server, remote, path):
    threads = [threading.Thread(target=download, args=(remote, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 1
