"""`neoteny data`: what is where, and having it ready."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neoteny.cli import data
from neoteny.cli.main import main

INSTALLED = Path("/usr/share/datasets/fashion-mnist").is_dir()  # by Debian's package


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOTENY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("NEOTENY_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def some_classes(tmp_path):
    folder = tmp_path / "data" / "imagenet32" / "classes"
    folder.mkdir(parents=True)
    for number in range(3):
        np.save(folder / f"{number}.npy", np.full((4, 3, 32, 32), number, np.uint8))
    return str(tmp_path / "data")


def test_what_is_not_here_says_how_to_have_it(capsys):
    assert main(["data"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in data.DATA_SETS)
    assert shown.count("not here") == len(data.DATA_SETS) - INSTALLED
    assert "neoteny data cifar100" in shown and "nothing is fetched" not in shown
    assert main(["data", "--data-dir", "empty"]) == 0
    assert "so nothing is fetched" in capsys.readouterr().out


def test_what_is_here(capsys, some_classes):
    assert main(["data", "--data-dir", some_classes]) == 0
    shown = capsys.readouterr().out
    assert shown.count("not here") == len(data.DATA_SETS) - 1 - INSTALLED
    assert "authors' class files, 3 files" in shown


def test_having_one_ready(capsys, some_classes, tmp_path):
    assert main(["data", "imagenet32", "--data-dir", some_classes]) == 0
    shown = capsys.readouterr().out
    assert "imagenet32: authors' class files, 3 classes of 4 images of 3x32x32" in shown
    assert some_classes in shown
    assert list((tmp_path / "cache" / "imagenet32").glob("*/images.npy"))


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["cifar1000"], "Did you mean 'cifar100'"),
        (["imagenet32"], "ImageNet32 is missing"),
        (["cifar100", "--data-dir", "nowhere"], "CIFAR-100 is missing"),
        (["mnist", "--data-dir", "nowhere"], "train-images-idx3-ubyte.gz is missing"),
    ],
)
def test_what_cannot_be_had(capsys, arguments, cause):
    assert main(["data", *arguments]) == 2
    assert cause in capsys.readouterr().err


def test_ctrl_c(capsys, monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "DATA_SETS", {"mnist": replace(data.DATA_SETS["mnist"], load=stopped)})
    with pytest.raises(SystemExit, match="130"):
        main(["data", "mnist"])
    assert "the same command resumes" in capsys.readouterr().err
