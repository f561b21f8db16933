"""The commands themselves, from end to end, at the scale of tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from neoteny import registry
from neoteny.cli.main import main
from neoteny.lab.config import RunConfig
from neoteny.lab.resolving import resolve

NAME = "slowly-changing-regression"
TINY = ("--scale", "tiny", "--runs", "2", "--no-compile")


@pytest.fixture
def neoteny(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command in an empty folder: gives what it printed; fails unless it ended as it should."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, status: int = 0) -> str:
        found = main(arguments)
        out, err = capsys.readouterr()
        assert found == status, err
        return out if status == 0 else err

    return run


def test_list_shows_everything(neoteny):
    names = (*registry.BENCHMARKS, *registry.METHODS)
    shown, told = neoteny("list"), neoteny("list", "all")
    assert all(name in shown for name in names)
    assert all(name in told for name in (*names, "paper", "small", "tiny", "linear"))
    assert "redo" in neoteny("list", "methods")
    assert "redo" not in neoteny("list", "scales")


def test_run_writes_a_folder_that_can_be_read_resumed_and_reported(neoteny):
    shown = neoteny("run", NAME, "--method", "cbp", *TINY, "--cbp.replacement-rate", "1e-2")
    folder = Path("runs/slowly-changing-regression-v1/cbp,cbp.replacement_rate=0.01")
    assert str(folder) in shown
    assert "interval" in shown
    config = RunConfig.from_yaml((folder / "config.yaml").read_text())
    assert config == resolve(NAME, method="cbp", scale="tiny", runs=2, methods={"cbp": {"replacement_rate": 1e-2}})
    frame = pl.read_parquet(folder / "metrics.parquet")
    bins = config.settings["steps"] // config.settings["bin_size"]
    assert frame.filter(metric="loss").group_by("run").len()["len"].to_list() == [bins, bins]

    before = (folder / "metrics.parquet").read_bytes()
    assert "finished" in neoteny("run", NAME, "--method", "cbp", *TINY, "--cbp.replacement-rate", "1e-2", status=2)
    neoteny("resume", str(folder))
    assert (folder / "metrics.parquet").read_bytes() == before

    page = Path(neoteny("report", "runs").strip().splitlines()[-1])
    assert page.read_text().startswith("<!")


def test_two_systems_run_side_by_side(neoteny):
    shown = neoteny("run", NAME, "--method", "backprop,cbp", *TINY, "--out", "here")
    for name in ("backprop", "cbp"):
        assert str(Path("here/slowly-changing-regression-v1") / name) in shown
        assert (Path("here/slowly-changing-regression-v1") / name / "metrics.parquet").exists()
    assert "finished" in neoteny("run", NAME, "--method", "backprop,l2", *TINY, "--out", "here", status=2)
    assert not Path("here/slowly-changing-regression-v1/l2").exists()
    neoteny("run", NAME, "--method", "backprop,l2", *TINY, "--out", "here", "--resume", "--executor", "here")
    assert Path("here/slowly-changing-regression-v1/l2/metrics.parquet").exists()


def test_the_demo(neoteny):
    settings = ("--scale", "tiny", "--runs", "2", "--out", "there", "--no-compile")
    command = ("demo", *settings)
    # the demo keeps what is finished; each of the others takes a process of its own
    neoteny("run", NAME, "--method", "linear,backprop,l2,shrink-and-perturb", *settings, "--executor", "here")
    shown = neoteny(*command)
    last = Path(shown.strip().splitlines()[-1])
    assert last == Path("there/report.html")
    assert last.exists()
    for system in ("linear", "backprop", "l2", "shrink-and-perturb", "cbp"):
        assert system in shown
    assert neoteny(*command) == shown  # nothing is run twice


def test_online_permuted_mnist_runs_on_real_images(neoteny, mnist_dir: Path):
    neoteny("run", "online-permuted-mnist", "--method", "backprop", *TINY, "--data-dir", str(mnist_dir))
    frame = pl.read_parquet("runs/online-permuted-mnist-v1/backprop/metrics.parquet")
    assert "accuracy" in frame["metric"].unique()


@pytest.mark.parametrize(
    ("benchmark", "metric", "said"),
    [
        ("continual-imagenet", "test_accuracy", "data: authors' class files"),
        ("incremental-cifar100", "validation_accuracy", "data: CIFAR-100"),
    ],
)
def test_the_image_benchmarks_run_on_real_images_and_say_which(neoteny, real_images: Path, benchmark, metric, said):
    shown = neoteny("run", benchmark, "--method", "cbp", *TINY, "--data-dir", str(real_images))
    assert said.lower() in shown.lower()
    frame = pl.read_parquet(f"runs/{benchmark}-v1/cbp/metrics.parquet")
    assert metric in frame["metric"].unique()


def test_a_class_with_fewer_images_than_the_paper_s_adapts_the_run_and_it_says_so(neoteny, real_images: Path):
    fewer = ("--images-per-class", "600", "--batch-size", "400", "--epochs", "1", "--tasks", "1")
    shown = neoteny("run", "continual-imagenet", "--method", "linear", *TINY, *fewer, "--data-dir", str(real_images))
    assert "adapted: 540 images of a class instead of 600" in shown


def test_missing_data_is_told(neoteny, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "empty" / "mnist").mkdir(parents=True)
    (tmp_path / "empty" / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8b broken")
    told = neoteny("run", "online-permuted-mnist", *TINY, "--data-dir", "empty", status=2)
    assert "train-images-idx3-ubyte.gz" in told
    assert not Path("runs").exists()


def test_python_m_neoteny():
    done = subprocess.run([sys.executable, "-m", "neoteny", "--version"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stdout.startswith("neoteny ")
    done = subprocess.run([sys.executable, "-m", "neoteny", "runn"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: There is no command called 'runn'. Did you mean 'run'?")


def test_ctrl_c_is_no_traceback(neoteny, monkeypatch: pytest.MonkeyPatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("neoteny.cli.list.main", interrupted)
    assert "stopped" in neoteny("list", status=130)


MODULE = """
import torch
from torch import nn

class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.up, self.down = nn.Embedding(20, 4), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, tokens, mask=None):
        h = torch.relu(self.up(self.embed(tokens))) * mask[..., None]
        return self.down(h.mean(1))

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))

net = build()
number = lambda: 3
three = 3
"""


@pytest.fixture
def mine(neoteny):
    """A folder with a network, its weights and inputs."""
    Path("a_network_of_mine.py").write_text(MODULE)
    np.savez("probe.npz", x=np.random.default_rng(0).normal(size=(64, 4)))
    yield neoteny
    sys.modules.pop("a_network_of_mine", None)


def diagnose(run, *arguments: str, status: int = 0) -> str:
    return run("diagnose", *arguments, status=status)


def test_diagnose_a_network_of_ones_own(mine):
    shown = diagnose(mine, "a_network_of_mine:build", "--inputs", "probe.npz")
    assert "dead" in shown
    from a_network_of_mine import build  # type: ignore[import-not-found]

    network = build()
    with torch.no_grad():
        network[0].bias.fill_(-100)  # no unit of the first layer is ever active
    for saved in (network.state_dict(), {"model": network.state_dict()}, {"state_dict": network.state_dict()}):
        torch.save(saved, "weights.pt")
        dead = diagnose(mine, "a_network_of_mine:net", "--checkpoint", "weights.pt", "--inputs", "probe.npz")
        assert dead != shown
    assert sys.path[0] != ""


def test_a_network_that_is_drawn_is_the_same_each_time(mine):
    np.savez("tokens.npz", tokens=np.ones((30, 5), "int64"), mask=np.ones((30, 5)))
    drawn = ("a_network_of_mine:Reader", "--inputs", "tokens.npz", "--figure", "None")
    assert diagnose(mine, *drawn) == diagnose(mine, *drawn)


def test_diagnose_names_the_layers_that_show_signs_and_draws_them(mine):
    assert "No layer shows" in diagnose(mine, "a_network_of_mine:build", "--inputs", "probe.npz")
    Path("checkup.png").unlink()
    from a_network_of_mine import build  # type: ignore[import-not-found]

    network = build()
    with torch.no_grad():
        network[0].bias[:6] = -100
        network[2].weight.mul_(3)
    torch.save(network.state_dict(), "weights.pt")
    torch.save({"model": build().state_dict()}, "start.pt")
    worn = ("a_network_of_mine:build", "--checkpoint", "weights.pt", "--inputs", "probe.npz")
    shown = diagnose(mine, *worn, "--figure", "figures/checkup.png")
    assert "75% of its units are dormant (0% in the reference)" in " ".join(shown.split())
    assert "crelu, redo, cbp" in shown
    assert "normalise-and-project, weight-clipping" in shown
    assert shown.strip().endswith("figures/checkup.png")
    assert Path("figures/checkup.png").read_bytes().startswith(b"\x89PNG")
    told = diagnose(mine, "a_network_of_mine:net", *worn[1:], "--reference", "start.pt", "--figure", "None")
    assert shown.startswith(told) and not Path("checkup.png").exists()
    itself = diagnose(mine, *worn, "--reference", "weights.pt")
    assert "No layer shows a sign of plasticity loss." in itself


def test_diagnose_inputs_by_name_with_targets_and_trainability(mine):
    generator = np.random.default_rng(0)
    tokens, mask = generator.integers(0, 20, (30, 5)), np.ones((30, 5))
    classes = generator.integers(0, 2, 30)
    np.savez("tokens.npz", tokens=tokens.astype("uint16"), mask=mask, y=classes.astype("int8"))
    told = ("--targets", "y", "--optimizer", "SGD", "--step-size", "0.05", "--steps", "20")
    shown = diagnose(mine, "a_network_of_mine:Reader", "--inputs", "tokens.npz", *told)
    assert "|grad|" in shown
    assert "Verdict: " in shown
    assert "2 classes by SGD at 0.05, 20 steps" in " ".join(shown.split())
    assert "up " in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a_network_of_mine --inputs probe.npz", "MODULE:FACTORY"),
        ("no_such_module:build --inputs probe.npz", "no_such_module"),
        ("a_network_of_mine:bild --inputs probe.npz", "Did you mean 'build'"),
        ("a_network_of_mine:number --inputs probe.npz", "returns int"),
        ("a_network_of_mine:nn.Linear --inputs probe.npz", "nn.Linear"),
        ("a_network_of_mine:three --inputs probe.npz", "without arguments"),
        ("a_network_of_mine:build --inputs none.npz", "none.npz"),
        ("a_network_of_mine:build --inputs probe.npz --optimizer adan", "adan"),
        ("a_network_of_mine:build --inputs probe.npz --steps 10", "--steps says how long copies learn"),
        ("a_network_of_mine:build --inputs probe.npz --step-size 0.1 --trainability", "name this as well"),
        (
            "a_network_of_mine:build --inputs probe.npz --optimizer sparseadam",
            "SparseAdam cannot train this network",
        ),
        ("a_network_of_mine:build --inputs probe.npz --optimizer lbfgs", "torch.optim.LBFGS cannot train"),
        ("a_network_of_mine:build --inputs a_network_of_mine.py", "cannot be read"),
        ("a_network_of_mine:build --inputs two.npz", "holds the arrays a, b, but Sequential takes input"),
        ("a_network_of_mine:build --inputs two.npz --targets c", "none of them the targets 'c'"),
        ("a_network_of_mine:build --inputs words.npz", "of type <U"),
        ("a_network_of_mine:build --inputs probe.npz --figure figure.gif", "figure.gif"),
        ("a_network_of_mine:build --inputs probe.npz --reference other.pt", "not this network's"),
        ("a_network_of_mine:build --inputs one.npy", "one.npy"),
        ("a_network_of_mine:build --inputs probe.npz --checkpoint none.pt", "error: none.pt cannot be read"),
        ("a_network_of_mine:build --inputs probe.npz --checkpoint probe.npz", "probe.npz"),
        ("a_network_of_mine:build --inputs probe.npz --checkpoint other.pt", "does not fit this network"),
        ("a_network_of_mine:build --inputs probe.npz --checkpoint list.pt", "not weights"),
    ],
)
def test_what_cannot_be_diagnosed_is_told(mine, arguments: str, message: str):
    np.savez("two.npz", a=np.zeros(3), b=np.zeros(3))
    np.savez("words.npz", x=np.array(["a", "b"]))
    np.save("one.npy", np.zeros(3))
    torch.save(torch.nn.Linear(2, 2).state_dict(), "other.pt")
    torch.save([1, 2], "list.pt")
    assert message in diagnose(mine, *arguments.split(), status=2)


@pytest.fixture
def streaming(mine):
    """The same folder with a stream, and a function that draws new weights every time."""
    Path("a_network_of_mine.py").write_text(MODULE.replace("    torch.manual_seed(0)\n", ""))
    x = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    np.savez("stream.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    return mine


SHORT = ("--batch", "8", "--seeds", "2", "--points", "2")


def test_recommend_compares_methods_on_ones_own_stream(streaming, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    stream = "--stream=~/stream.npz"
    shown = streaming("recommend", "a_network_of_mine:build", stream, "--methods", "l2, cbp", *SHORT)
    for word in ("bare loop", "fresh network", "l2", "cbp", "accuracy in %", "model = build()", "8 batches"):
        assert word in shown
    assert Path("which_method.png").read_bytes().startswith(b"\x89PNG")
    assert shown.strip().endswith("which_method.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("a_network_of_mine:three --stream stream.npz", "no function"),
        ("a_network_of_mine:net --stream stream.npz", "a network; give a function"),
        ("a_network_of_mine:build --stream probe.npz", "holds the arrays x, not x and y"),
        ("a_network_of_mine:build --stream uneven.npz", "give one y for each x"),
        ("a_network_of_mine:build --stream none.npz", "none.npz"),
        ("a_network_of_mine:build --stream stream.npz --optimizer adma", "'adam'"),
        ("a_network_of_mine:build --stream stream.npz --batch 0", "batch = 0"),
        ("a_network_of_mine:build --stream stream.npz --batch 32", "2 batches"),
        ("a_network_of_mine:build --stream stream.npz --batch 8 --methods cpb", "'cbp'"),
        ("a_network_of_mine:build --stream stream.npz --figure a.gif", "a.gif"),
    ],
)
def test_what_cannot_be_recommended_is_told(streaming, arguments: str, message: str):
    np.savez("uneven.npz", x=np.zeros((64, 4)), y=np.zeros(3))
    assert message in streaming("recommend", *arguments.split(), status=2)


@pytest.mark.parametrize("command", [("run", NAME, "--help"), ("list",)])
def test_a_reader_that_has_seen_enough_is_no_error(command):
    command = [sys.executable, "-m", "neoteny", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


def test_where_the_output_has_few_letters_the_others_are_named_and_errors_are_one_line():
    few = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    command = [sys.executable, "-m", "neoteny", "run", NAME]
    shown = subprocess.run([*command, "--help"], env=few, capture_output=True, encoding="cp1252", timeout=60)
    assert shown.returncode == 0 and "GREEK SMALL LETTER" in shown.stdout
    told = subprocess.run([*command, "tiny"], env=few, capture_output=True, encoding="cp1252", timeout=60)
    assert told.stderr.startswith("error: Unrecognized options: tiny; `neoteny run")
