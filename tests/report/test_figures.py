from __future__ import annotations

import itertools
import subprocess
import sys

import matplotlib
import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from neoteny.errors import RunFolderError, UnknownNameError
from neoteny.report import learning_curves, load, measures, plot
from neoteny.report.figures.layout import spread
from neoteny.report.figures.panels import sheets
from neoteny.report.figures.style import COLOURS, DARK, LIGHT, colours, contrast, render
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group, group_frames
from report import made_up

RATES = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Group:
    return load(made_up.demo(tmp_path_factory.mktemp("demo"), runs=4))[0]


def grid() -> Group:
    settings = made_up.config("cbp", 10, varied={"cbp.replacement_rate": RATES * 2}, seeds=[0] * 5 + [1] * 5)
    frames = [RunFrame(settings, made_up.metrics("cbp", 10, offset=[0.1 * i for i in range(5)] * 2))]
    frames.append(RunFrame(made_up.config(runs=1), made_up.metrics(runs=1, bins=30)))
    (group,) = group_frames(frames)
    return group


def deep() -> Group:
    layers = ("layer1", "layer2", "layer3")
    frames = [
        RunFrame(made_up.config(name, 3), made_up.metrics(name, 3, 20, layers=layers, metric="accuracy", ended={1: 9}))
        for name in ("backprop", "cbp")
    ]
    (group,) = group_frames(frames)
    return group


def words(figure: Figure) -> list[Text]:
    """The texts that are drawn; ticks beyond the limits have one and are not."""
    drawn: list[Text] = []

    def draw(self: Text, renderer: object) -> None:
        drawn.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Text, "draw", draw)
        figure.canvas.draw()
    return [text for text in dict.fromkeys(drawn) if text.get_visible() and text.get_text().strip()]


def check_text(figure: Figure) -> None:
    """No text is clipped by the figure's edge, none lies over another."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in words(figure)]
    width, height = figure.bbox.size
    for text, box in boxes:
        assert -1 <= box.x0 <= box.x1 <= width + 1, text
        assert -1 <= box.y0 <= box.y1 <= height + 1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        assert not a.padded(-1.5).overlaps(b.padded(-1.5)), f"{one!r} lies over {other!r}"


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("make", [None, grid, deep])
def test_no_text_is_clipped_and_none_overlaps(demo, make, narrow):
    group = demo if make is None else make()
    check_text(learning_curves(group, narrow=narrow))
    check_text(measures(group, narrow=narrow))


def test_the_figure_says_what_a_reader_has_to_know(demo):
    said = " ".join(text.get_text() for text in words(learning_curves(demo, bin_size=40_000, interval="bca")))
    for needed in ("paper scale", "n = 4 runs", "95% BCa bootstrap interval", "bins of 40,000 examples", "loss"):
        assert needed in said
    said = " ".join(text.get_text() for text in words(learning_curves(deep())))
    assert "1 of 3 runs became non-finite" in said and "n falls to 2" in said
    said = " ".join(text.get_text() for text in words(learning_curves(grid())))
    assert "none for one run" in said and "Not as far as the others: backprop (to 600,000)" in said
    frames = [RunFrame(made_up.config(name, n), made_up.metrics(name, n)) for name, n in (("linear", 1), ("cbp", 5))]
    said = " ".join(text.get_text() for text in words(learning_curves(group_frames(frames)[0])))
    assert "Mean over n = 5 runs of each system (1 for linear)" in said


def test_lines_are_the_means_and_bands_the_intervals(demo):
    axes = learning_curves(demo).axes[0]
    for one, line in zip(demo.series, axes.lines, strict=True):
        np.testing.assert_allclose(line.get_ydata(), one.curve("loss").values.mean(axis=0))


def test_a_diverging_line_does_not_flatten_the_others(demo):
    wild = made_up.metrics("l2", 3)
    wild = wild.with_columns(value=wild["value"] * wild["step"] ** 2)
    frames = [RunFrame(made_up.config(name), made_up.metrics(name)) for name in ("backprop", "cbp")]
    (group,) = group_frames([*frames, RunFrame(made_up.config("l2"), wild)])
    figure = learning_curves(group)
    assert figure.axes[0].get_ylim()[1] < 3
    assert any("Leaves the axes: l2" in text.get_text() for text in words(figure))


def test_one_point_one_run_is_a_dot():
    (group,) = group_frames([RunFrame(made_up.config(runs=1), made_up.metrics(runs=1, bins=1))])
    figure = learning_curves(group)
    assert figure.axes[0].lines[0].get_marker() == "o"
    assert any("One run" in text.get_text() for text in words(figure))


def test_a_measure_taken_once_before_the_first_example():
    frame = made_up.metrics(bins=1).with_columns(step=pl.lit(0, pl.Int64))
    (group,) = group_frames([RunFrame(made_up.config(), frame)])
    check_text(measures(group))
    check_text(learning_curves(group))


def test_plot_draws_runs_in_memory_and_into_axes_of_ones_own():
    frame, config = made_up.metrics(bins=5), made_up.config()
    assert isinstance(plot(frame, config, metric="loss"), Figure)
    mine = Figure()
    axes = mine.add_subplot()
    assert plot(frame, config, axes=axes) is mine
    assert axes.get_ylabel() == "loss" and axes.get_legend() is not None
    with pytest.raises(UnknownNameError, match="loss"):
        plot(frame, config, metric="lost")
    with pytest.raises(RunFolderError, match="nothing yet"):
        plot(frame.clear(), config)


def test_drawing_leaves_matplotlibs_settings_alone(demo):
    before = dict(matplotlib.rcParams)
    render(learning_curves(demo, theme=DARK), "png")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_equal_figures_are_equal_files(demo, kind):
    first, second = (render(learning_curves(demo), kind) for _ in range(2))
    assert first == second


def test_many_measures_are_spread_over_several_figures():
    layers = [f"layer{index}" for index in range(1, 11)]
    (group,) = group_frames([RunFrame(made_up.config(), made_up.metrics(bins=3, layers=layers))])
    assert sheets(group, group.measures) == [["dead_units"], ["srank_99"], ["weight_magnitude"]]
    figure = measures(group, ["dead_units"])
    assert [text.get_text() for text in words(figure) if text.get_text().startswith("layer")] == layers


def test_a_system_keeps_its_colour(demo):
    alone = Group("b", "", tuple(one for one in demo.series if one.system == "cbp"))
    together = dict(zip((one.label for one in demo.series), colours(demo.series), strict=True))
    assert colours(alone.series) == [together["cbp"]]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_stand_out_from_the_paper_and_shades_go_from_pale_to_deep(theme):
    chosen = colours(grid().series, theme)
    assert all(contrast(colour, theme.paper) >= theme.contrast - 0.01 for colour in chosen)
    strengths = [contrast(colour, theme.paper) for colour in chosen[1:]]
    assert strengths == sorted(strengths) and len(set(chosen)) == 6


def test_settings_that_are_no_numbers_get_colours_of_their_own():
    frames = [
        RunFrame(made_up.config(network={"activation": name}), made_up.metrics(bins=2))
        for name in ("relu", "tanh", "sigmoid", "elu", "leaky-relu", "swish")
    ]
    (group,) = group_frames(frames)
    assert len(set(colours(group.series))) == 6


# Machado, Oliveira & Fernandes (2009), severity 1, on linear RGB.
DEFICIENT = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "none": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


def lab(colour: str, matrix: list[list[float]]) -> np.ndarray:
    """CIE L*a*b* of a colour as someone with this colour vision sees it."""
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(matrix) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.maximum(np.array(to_xyz) @ seen / [0.9505, 1, 1.089], 1e-9))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("vision", DEFICIENT)
def test_systems_are_told_apart_with_any_colour_vision(vision, theme):
    frames = [RunFrame(made_up.config(name), made_up.metrics(name, bins=1)) for name in COLOURS]
    (group,) = group_frames(frames)
    seen = [lab(colour, DEFICIENT[vision]) for colour in colours(group.series, theme)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 15


def test_spread_keeps_order_distance_and_limits():
    rng = np.random.default_rng(0)
    for _ in range(100):
        wanted = rng.uniform(0, 3, size=8).tolist()
        places = np.array(spread(wanted, 0.2, 0.0, 3.0))
        order = np.argsort(wanted)
        assert (np.diff(places[order]) >= 0.2 - 1e-5).all()
        assert places.min() >= 0 and places.max() <= 3
    assert spread([1.0, 2.0], 0.5, 0, 3) == [1.0, 2.0]


def test_tables_and_loading_need_no_matplotlib_and_nothing_needs_torch():
    code = (
        "import sys, neoteny.report as r; assert 'polars' not in sys.modules; r.load, r.final_table;"
        "assert 'matplotlib' not in sys.modules; r.build; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
