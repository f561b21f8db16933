"""What every test shares: one torch thread, the same examples each time, and the real data where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A loaded machine is no failure, and what fails here fails everywhere.
settings.register_profile(
    "neoteny", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("neoteny")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests that are marked `cuda` are skipped where they cannot run."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device, and this machine has none")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread a test process: the workers share the cores, and sums keep their order."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder that holds `mnist/*.gz`; tests that need real MNIST are skipped where there is none."""
    folder = os.environ.get("NEOTENY_DATA")
    if not folder:
        pytest.skip("needs real MNIST: set NEOTENY_DATA to a folder with the four files mnist/*.gz")
    if not (Path(folder) / "mnist" / "train-images-idx3-ubyte.gz").exists():
        pytest.fail(f"NEOTENY_DATA={folder} holds no mnist/train-images-idx3-ubyte.gz")
    return Path(folder)


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder with real CIFAR-100 and ImageNet at 32x32; tests that need them are skipped where there is none."""
    folder = os.environ.get("NEOTENY_DATA")
    if not folder:
        pytest.skip("needs real images: set NEOTENY_DATA to a folder with cifar-100-python and imagenet32")
    for name in ("cifar-100-python", "imagenet32"):
        if not (Path(folder) / name).exists():
            pytest.fail(f"NEOTENY_DATA={folder} holds no {name}")
    return Path(folder)


@pytest.fixture(scope="session", autouse=True)
def _cache_of_data(tmp_path_factory: pytest.TempPathFactory):
    """What tests decode goes into a cache of theirs, not into the user's."""
    if "NEOTENY_CACHE" in os.environ:
        yield
        return
    os.environ["NEOTENY_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["NEOTENY_CACHE"]
