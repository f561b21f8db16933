"""What every test shares: one torch thread, and the real data where they lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread a test process: the workers share the cores, and sums then keep their order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder that holds `mnist/*.gz`; tests that need real MNIST are skipped where there is none."""
    folder = os.environ.get("NEOTENY_DATA")
    if not folder:
        pytest.skip(
            "needs MNIST: set NEOTENY_DATA to a folder with mnist/train-images-idx3-ubyte.gz and its three fellows"
        )
    if not (Path(folder) / "mnist" / "train-images-idx3-ubyte.gz").exists():
        pytest.fail(f"NEOTENY_DATA={folder} holds no mnist/train-images-idx3-ubyte.gz")
    return Path(folder)
