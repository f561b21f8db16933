"""The film of a network that learns: the run is repeated, and its pictures show what there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from neoteny import lab
from neoteny.cli.main import main
from neoteny.errors import SettingError
from neoteny.lab.execution import Execution
from neoteny.lab.learner import Learner
from neoteny.lab.objective import examples
from neoteny.nn import MLP
from neoteny.optim import Autostep
from neoteny.report.films import Moment, NetworkPicture, film_network
from neoteny.report.films.growing import moment_of

EAGER = Execution(compile=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    grid = {"cbp.replacement_rate": [1e-3, 1e-2]}
    settings = {"width": 5}
    tiny = {"scale": "tiny", "runs": 2, "out": tmp_path_factory.mktemp("runs"), "progress": False, "compile": False}
    return lab.run("drifting-features", method="cbp", settings=settings, grid=grid, **tiny)


def test_the_film_repeats_the_run(folder, tmp_path):
    counted = []
    film = film_network(
        folder.folder, tmp_path / "run.gif", run=3, pictures=8, size=(200, 160), execution=EAGER, notify=counted.append
    )
    assert film.seed == 1 and film.last.step == 400 and sum(counted) == film.pictures == 9
    final = folder.final_weights()
    for drawn, name in zip(film.last.weights, ("layers.0.weight", "layers.2.weight"), strict=True):
        np.testing.assert_allclose(drawn, final[name][3].numpy(), rtol=1e-4, atol=1e-6)
    assert film.last.step_sizes == [None, None] and film.last.ages[0].max() <= 400
    with Image.open(film.path) as image:
        assert image.n_frames >= 8 and image.size == (200, 160)


def test_step_sizes_are_those_of_the_weights():
    made = Learner(
        lambda: MLP(3, [4], 1),
        torch.zeros(1, 3),
        loss="mse",
        optimizer=Autostep(step_size=0.02, mu=0.1),
        strategy="stack",
        compile=False,
    )
    x = torch.randn(1, 5, 1, 3, generator=torch.Generator().manual_seed(0))
    made.advance(examples(x, x.sum(-1, keepdim=True)))
    moment = moment_of(made, 5, 0.5)
    state = made.strategy.carry()["optim"]
    for name, weights, sizes in zip(("0", "2"), moment.weights, moment.step_sizes, strict=True):
        assert np.array_equal(weights, made.weights()[f"layers.{name}.weight"][0].numpy())
        assert np.array_equal(sizes, state[f"layers.{name}.weight"]["alpha"][0].numpy())
    assert len(np.unique(moment.step_sizes[0])) > 1
    assert moment.ages[0].tolist() == [5.0] * 4 and moment.backbone == [None]


def test_the_command_films_a_network(folder, tmp_path, capsys):
    out = tmp_path / "network.gif"
    main(["watch", str(folder.folder), "--out", str(out), "--pictures", "2", "--size", "128x128", "--run", "1"])
    told = capsys.readouterr().out
    assert out.is_file() and "run 1 (seed 1): 400 examples" in told
    assert main(["watch", str(folder.folder), "--agent", "1"]) == 2
    assert "--agent says nothing here" in capsys.readouterr().err


def test_what_cannot_be_filmed_is_refused(folder, tmp_path):
    for arguments, words in (
        ({"run": 4}, "run = 4"),
        ({"pictures": 1}, "pictures = 1"),
        ({"size": (10, 10)}, "size = "),
        ({"out": tmp_path / "film.avi"}, "film.avi"),
    ):
        with pytest.raises(SettingError, match=words):
            film_network(folder.folder, **{"out": tmp_path / "film.gif", **arguments}, execution=EAGER)
    large = lab.run(
        "drifting-features", settings={"width": 101}, scale="tiny", out=tmp_path, runs=1, compile=False, progress=False
    )
    with pytest.raises(SettingError, match="a layer of 101 units .* film a run of a smaller one"):
        film_network(large.folder, tmp_path / "film.gif", execution=EAGER)


def moment(**changes):
    usual = {
        "step": 10,
        "error": 1.0,
        "weights": [np.array([[1.0, -1.0], [0.5, 0.0]]), np.array([[1.0, 1.0]])],
        "step_sizes": [np.full((2, 2), 0.01), np.full((1, 2), 0.01)],
        "ages": [np.array([10.0, 10.0])],
        "backbone": [np.array([True, False])],
    }
    return Moment(**{**usual, **changes})


def colours(picture):
    """How many pixels are rather green, yellow, blue and red."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return {
        "green": ((green > red + 30) & (green > blue + 20)).sum(),
        "yellow": ((red > 180) & (green > 110) & (blue < 100)).sum(),
        "blue": ((blue > red + 60) & (green < blue)).sum(),
        "red": ((red > green + 80) & (green < 110)).sum(),
    }


def test_colours_and_widths_say_what_they_should():
    whole = colours(NetworkPicture("", 10)(moment()))
    assert min(whole.values()) > 20
    backbone = colours(NetworkPicture("", 10)(moment(backbone=[np.array([True, True])])))
    assert backbone["yellow"] < whole["yellow"] and backbone["green"] > whole["green"]
    positive = colours(NetworkPicture("", 10)(moment(weights=[np.ones((2, 2)), np.ones((1, 2))])))
    assert positive["red"] < 5 and positive["blue"] > whole["blue"]
    draw = NetworkPicture("", 10)
    thin = colours(draw(moment()))["blue"]  # the first picture says what is usual
    assert colours(draw(moment(step_sizes=[np.full((2, 2), 0.1), np.full((1, 2), 0.1)])))["blue"] > 1.3 * thin
    plain = NetworkPicture("", 10)(moment(backbone=[None], step_sizes=[None, None], error=float("nan")))
    assert colours(plain)["green"] < whole["green"]
