"""Fetching a file whose size and checksum are known beforehand; what was broken off is gone on with.

What has come so far lies in `NAME.part` and takes the file's name only when its checksum is right. With the checksum
known no validator of the server's is needed: a `.part` that was begun from another version of the file fails it when it
is complete, and is then fetched anew from its start.
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
    """A file that can be fetched.

    Attributes:
        name: what it is called.
        urls: where it can be had; the next one is tried when one fails.
        sha256: its checksum.
        size: its length in bytes.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    size: int


class _Refused(Exception):
    """What a server gives is not the file, or not all of it."""


def download(remote: Remote, path: Path) -> Path:
    """Fetch a file unless it is there already and whole; show how far it is.

    Several processes may call this at once: one fetches, the others wait for it.

    Args:
        remote: the file.
        path: where it shall be.

    Returns:
        `path`.

    Raises:
        DataError: no URL gave the file, there is too little room for it, or it cannot be written.
    """
    if _whole(path, remote):
        return path
    with locked(path):
        if _whole(path, remote):  # another process has fetched it meanwhile
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
        raise _Refused("what came has a wrong checksum and was thrown away: it is another file, or was damaged")


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
                        break  # its checksum cannot be right any more
            except requests.RequestException as error:
                cause = f"the connection broke ({type(error).__name__})"
    if came < remote.size:
        raise _Refused(f"{cause} after {came:,} of {remote.size:,} bytes, which are kept: the next try goes on there")
