"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path

from neoteny.lab.recorder import atomically

__all__ = ["write"]


def write(path: Path, content: bytes) -> Path:
    """Put a file in its place at once, in a folder that is made if need be; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    atomically(path, lambda temporary: temporary.write_bytes(content), shared=True)
    return path
