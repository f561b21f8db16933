"""Whether what is about to be made fits into memory."""

from __future__ import annotations

import os

import torch

from neoteny.errors import SettingError

__all__ = ["memory_left", "require_memory"]


def memory_left(device: torch.device | str = "cpu") -> int | None:
    """Bytes that a program can still take on a device; None where the system does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type != "cpu":
        return None
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = dict(row.split(":") for row in file)
        return int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):  # not Linux: all that the machine has
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, ValueError, OSError):
            return None


def require_memory(needed: int, device: torch.device | str, what: str) -> None:
    """Refuse what does not fit into the memory that is left.

    Args:
        needed: bytes.
        device: where.
        what: it is, for the message.

    Raises:
        SettingError: it does not fit.

    >>> require_memory(10**15, "cpu", "A buffer")
    Traceback (most recent call last):
    ...
    neoteny.errors.SettingError: A buffer needs 1000000.0 GB of memory when it is full, and ... GB are left on cpu: ...
    """
    left = memory_left(device)
    if left is not None and needed > left:
        raise SettingError(
            f"{what} needs {needed / 1e9:.1f} GB of memory when it is full, and {left / 1e9:.1f} GB are left on "
            f"{device}: give a smaller capacity, train fewer agents side by side, or free memory."
        )
