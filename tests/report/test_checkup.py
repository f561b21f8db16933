from __future__ import annotations

import math
from dataclasses import replace

import pytest
from matplotlib.colors import to_hex

import neoteny
from measures.plastic import INPUTS, mlp, well, worn
from neoteny.measures import LayerReport, Report
from neoteny.report.figures.checkup import SIGN, WELL, draw
from neoteny.report.figures.style import DARK, render
from report.test_figures import words


def bars(figure, name):
    (axes,) = [axes for axes in figure.axes if axes.get_label() == name]
    return [(bar.get_x() + bar.get_width(), to_hex(bar.get_facecolor())) for bar in axes.patches]


def test_a_bar_is_the_measure_and_its_colour_the_finding():
    report = neoteny.diagnose(worn(), INPUTS, reference=mlp(), targets=INPUTS[:, :3])
    figure = draw(report)
    signs = {(finding.layer, finding.symptom) for finding in report.signs()}
    for measure, label, symptom in (
        ("dormant_units", "dormant_units", "dormant units"),
        ("srank_99", "srank_99", "falling rank"),
        ("weight_growth", "weight_growth", "growing weights"),
        ("gradient_norm", "gradient_norm", "no gradient"),
    ):
        for layer, (end, hue) in zip(report.layers, bars(figure, label), strict=True):
            assert end == pytest.approx(getattr(layer, measure))
            assert hue == (SIGN if (layer.layer, symptom) in signs else WELL).lower()
    assert {hue for _, hue in bars(draw(neoteny.diagnose(well(), INPUTS)), "dormant_units")} == {WELL.lower()}


def test_without_a_loss_there_is_no_panel_of_gradients():
    labels = [axes.get_label() for axes in draw(neoteny.diagnose(mlp(), INPUTS)).axes]
    assert "srank_99" in labels
    assert "gradient_norm" not in labels


def test_saturated_units_are_shown_where_there_are_some():
    now, then = (Report(layers(1, saturated_units=share), 9, 0.1) for share in (0.4, 0.0))
    figure = draw(replace(now, reference=then, reference_is="a fresh copy"))
    assert bars(figure, "saturated_units") == [(pytest.approx(0.4), SIGN.lower())]
    assert "shares 10 points above the reference" in " ".join(text.get_text() for text in figure.texts)
    assert "saturated_units" not in [axes.get_label() for axes in draw(then).axes]


def layers(count: int, **values) -> tuple[LayerReport, ...]:
    named = {name: 0.5 for name in ("dead_units", "dormant_units", "dormant_score")}
    ranks = {name: 700.0 for name in ("srank_99", "approx_rank_99", "effective_rank", "stable_rank")}
    settings = {**named, **ranks, "weight_magnitude": 0.1, "gradient_norm": 3e-7, "weight_growth": 12.0, **values}
    return tuple(LayerReport(f"transformer.encoder.layers.{i}.feed_forward.up", 768, **settings) for i in range(count))


@pytest.mark.parametrize(
    "report",
    [
        Report(layers(1), 1000, 0.1),
        Report(layers(14), 1000, 0.1, reference=Report(layers(14), 1000, 0.1), reference_is="a fresh copy"),
        Report(layers(2, srank_99=math.nan, gradient_norm=math.inf, weight_growth=None), 9, math.nan),
        Report(layers(2, gradient_norm=0.0, dormant_units=0.0, srank_99=0.0), 9, 0.0),
    ],
    ids=["one layer", "many layers", "not finite", "all zero"],
)
def test_nothing_is_clipped_and_nothing_overlaps(report):
    figure = draw(report, theme=DARK)
    texts = words(figure)
    boxes = [text.get_window_extent() for text in texts]
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in zip(texts, boxes, strict=True):
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, text.get_text()
    for number, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        for other, theirs in zip(texts[number + 1 :], boxes[number + 1 :], strict=True):
            apart = (
                box.x1 <= theirs.x0 + 1 or theirs.x1 <= box.x0 + 1 or box.y1 <= theirs.y0 + 2 or theirs.y1 <= box.y0 + 2
            )
            assert apart, (text.get_text(), other.get_text())


def test_equal_reports_are_equal_files():
    report = neoteny.diagnose(mlp(), INPUTS)
    assert render(draw(report), "png") == render(draw(report), "png")
