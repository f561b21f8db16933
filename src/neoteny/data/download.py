"""Downloading a file whose size and checksum are known; a broken download is resumed.

The download is written to `NAME.part`, which is renamed when its checksum is right. If a `.part` was begun from another
version of the file, the checksum is wrong at the end, and the file is downloaded again from the start.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from neoteny.data.cache import locked, require_room
from neoteny.errors import DataError
from neoteny.progress import bar

__all__ = ["Remote", "download", "sha256"]

_TIMEOUT = 30  # seconds without an answer
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Remote:
    """A file that can be downloaded.

    Attributes:
        name: its name.
        urls: where it can be downloaded; if one fails, the next is tried.
        sha256: its checksum.
        size: its size in bytes.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int


class _Refused(Exception):
    """A server sent another file, or only a part of it."""


def download(remote: Remote, path: Path) -> Path:
    """Download a file, unless it is there and complete, and show the progress.

    Several processes may call this at once: one downloads, the others wait for it.

    Args:
        remote: the file.
        path: where to write it.

    Returns:
        `path`.

    Raises:
        DataError: no URL gave the file, the disk is too full, or it cannot be written.
    """
    if _whole(path, remote):
        return path
    with locked(path):
        if _whole(path, remote):  # another process has downloaded it meanwhile
            return path
        part = path.with_name(f"{path.name}.part")
        failures = []
        for url in remote.urls:
            try:
                _fetch(url, remote, part)
                os.replace(part, path)
                return path
            except _Refused as error:
                failures.append(f"{url}: {error}")
            except OSError as error:  # requests' errors are OSErrors
                failures.append(f"{url}: {type(error).__name__}: {error}")
    raise DataError(
        f"{path} could not be fetched:\n  "
        + "\n  ".join(failures)
        + "\nCheck the connection and the disk and try again, "
        f"or fetch {path.name} by hand and name its folder with --data-dir or NEOTENY_DATA."
    )


def sha256(path: Path) -> str:
    """The SHA-256 checksum of a file's content, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _whole(path: Path, remote: Remote) -> bool:
    return path.is_file() and path.stat().st_size == remote.size and sha256(path) == remote.sha256


def _fetch(url: str, remote: Remote, part: Path) -> None:
    begun = part.stat().st_size if part.exists() else 0
    if begun > remote.size:
        part.unlink()
        begun = 0
    if begun < remote.size:
        require_room(part.parent, remote.size - begun, remote.name)
        _receive(url, remote, part, begun)
    if sha256(part) != remote.sha256:
        part.unlink()
        if begun:
            return _fetch(url, remote, part)
        raise _Refused("what was downloaded has a wrong checksum and was deleted: it is another file, or damaged")


def _receive(url: str, remote: Remote, part: Path, begun: int) -> None:
    import requests

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={begun}-"} if begun else {})
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        answer.raise_for_status()
        if answer.status_code != requests.codes.partial_content:
            begun = 0  # a server without ranges sends the whole file
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {begun}-"):
            raise _Refused(f"the server sent another range than was asked for (from byte {begun:,})")
        length = answer.headers.get("Content-Length", "")
        if length.isdecimal() and begun + int(length) != remote.size:
            raise _Refused(f"the server has another file: of {begun + int(length):,} bytes, not {remote.size:,}")
        with (
            open(part, "ab" if begun else "wb") as file,
            bar(remote.name, remote.size, done=begun, unit="bytes") as advance,
        ):
            came, cause = begun, "the answer ended"
            try:
                for chunk in answer.iter_content(_CHUNK):
                    came += file.write(chunk)
                    advance(len(chunk))
                    if came > remote.size:
                        break  # too long: its checksum cannot be right
            except requests.RequestException as error:
                cause = f"the connection broke ({type(error).__name__})"
    if came < remote.size:
        raise _Refused(f"{cause} after {came:,} of {remote.size:,} bytes, which are kept: the next try goes on there")
