from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest
from scipy import stats

from neoteny.errors import RunFolderError, SettingError
from neoteny.report import build, final_table, load
from neoteny.report.page.sentences import reference, sentences
from neoteny.report.statistics.paired import paired_differences
from report import made_up


class Reader(HTMLParser):
    """Checks that tags close, and collects what a browser would fetch."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "input", "wbr"):
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "srcset"):
                self.fetched.append(value)
            if key == "href":
                self.links.append(value)

    def handle_startendtag(self, tag, attrs):
        pass  # of drawings

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader


def test_one_page_that_needs_nothing_but_itself(tmp_path):
    made_up.demo(tmp_path, runs=3, bins=10)
    ended = made_up.config("backprop", 3, benchmark="online-permuted-mnist-v1", scale="small")
    made_up.write(tmp_path / "mnist", ended, made_up.metrics(runs=3, bins=10, metric="accuracy", ended={1: 5}))
    made_up.write(tmp_path / "half", made_up.config(), None)
    page = build(tmp_path)
    assert page == tmp_path / "report.html"
    reader = read(page)
    assert not reader.fetched
    source = page.read_text(encoding="utf-8")
    assert "@import" not in source and "url(" not in source
    assert "Permission is hereby granted" in source  # the library's licence goes with it
    for link in reader.links:
        assert f'id="{link[1:]}"' in source if link.startswith("#") else (tmp_path / link).is_file()
    said = "shrink-and-perturb|95% Student t interval|seed 1 by example|2 of 3|Left out|optimizer.learning_rate"
    for needed in (*said.split("|"), "slowly-changing-regression-v1", "half", "Example CPU", "0123456789abcdef"):
        assert needed in reader.text, needed
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert figures == ["online-permuted-mnist-v1-small-accuracy.csv", "slowly-changing-regression-v1-paper-loss.csv"]


def test_long_reading_and_drawing_is_told(tmp_path, monkeypatch, capsys):
    made_up.write(tmp_path, made_up.config(), made_up.metrics(bins=4))
    monkeypatch.setattr("neoteny.progress.bars.PATIENCE", -1.0)
    build(tmp_path, figures=True)
    told = capsys.readouterr().err
    assert "reading run folders: 1 of 1" in told
    assert "drawing slowly-changing-regression-v1, paper scale: loss" in told
    assert "measures.pdf" in told


def test_static_figures_where_asked(tmp_path):
    made_up.demo(tmp_path / "runs", runs=2, bins=4)
    page = build(tmp_path / "runs", out=tmp_path / "there", figures=True)
    assert page == tmp_path / "there/report.html"
    made = {path.name.removeprefix("slowly-changing-regression-v1-paper-") for path in page.parent.rglob("*.p*")}
    assert made == {"loss.png", "loss.pdf", "measures.png", "measures.pdf"}
    assert set(read(page).links) >= {f"figures/slowly-changing-regression-v1-paper-{name}" for name in made}
    assert not list((tmp_path / "runs").glob("*.html"))


def boards(page) -> list[dict]:
    """What the page's script draws, board by board."""
    source = page.read_text(encoding="utf-8")
    return [json.loads(found) for found in re.findall(r'<script type="application/json">(.*?)</script>', source)]


def test_the_charts_hold_what_was_recorded(tmp_path):
    """Means and bounds against numpy and scipy, to five figures: also beside a system that diverges."""
    made_up.demo(tmp_path, runs=4, bins=30)
    wild = made_up.metrics(runs=4, bins=30, measures=False).with_columns(pl.col("value") * 1e9)
    made_up.write(tmp_path / "wild", made_up.config("wild", 4), wild)
    (board,) = boards(build(tmp_path))
    group = load(tmp_path)[0]
    assert [one["label"] for one in board["systems"]] == [one.label for one in group.series]
    (loss,) = [one for one in board["charts"] if one["words"] == "loss"]
    assert loss["floor"] == 0 and not loss["share"]
    for line in loss["lines"]:
        values = group.series[line["system"]].curve("loss").values
        half = stats.t.ppf(0.975, 3) * values.std(axis=0, ddof=1) / 2
        for key, expected in (("mean", values.mean(axis=0)), ("low", values.mean(axis=0) - half)):
            np.testing.assert_allclose(line[key], expected, rtol=1e-4)
        assert line["x"] == {"first": 20_000, "every": 20_000, "count": 30}
    layers = [(one["words"], one["layer"]) for one in board["charts"]]
    assert ("dead units", "layer1") in layers and ("mean |weight|", "layer1") in layers


def test_long_curves_are_joined_to_few_points(tmp_path):
    frame = made_up.metrics(runs=2, bins=900, measures=False)
    made_up.write(tmp_path / "run", made_up.config("backprop", 2), frame)
    page = build(tmp_path)
    (line,) = boards(page)[0]["charts"][0]["lines"]
    assert line["x"] == {"first": 60_000, "every": 60_000, "count": 300}
    expected = load(tmp_path)[0].series[0].curve("loss").values.reshape(2, 300, 3).mean(axis=(0, 2))
    np.testing.assert_allclose(line["mean"], expected, rtol=1e-4)
    assert "up to 3 of them joined to a point" in read(page).text


def test_systems_are_told_apart_without_colour(tmp_path):
    frame = made_up.metrics(runs=1, bins=2, measures=False)
    for place in range(30):
        made_up.write(tmp_path / str(place), made_up.config(f"own-{place}", 1), frame)
    (board,) = boards(build(tmp_path))
    assert len({(one["dash"], one["mark"]) for one in board["systems"]}) == 30
    assert len({one["light"] for one in board["systems"]}) == 30
    assert len(board["first"]) <= 6  # not thirty lines in one chart


def test_the_scripts_are_allowed_by_their_checksums(tmp_path):
    made_up.demo(tmp_path, runs=2, bins=3)
    source = build(tmp_path).read_text(encoding="utf-8")
    scripts = re.findall(r"<script>(.*?)</script>", source, flags=re.S)
    sums = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert len(sums) == 2 and all(f"'sha256-{one}'" in source for one in sums)
    assert "default-src 'none'" in source


def test_sentences_say_what_the_paired_test_says(tmp_path):
    made_up.demo(tmp_path, runs=8, bins=30)
    group = load(tmp_path)[0]
    table = final_table(group)
    base = reference(group, table)
    assert table.rows[base].system == "backprop"
    last = {row.system: np.array(list(row.scores.values())) for row in table.rows}
    found = paired_differences({row.system: row.scores for row in table.rows}, "backprop")
    interval = stats.ttest_rel(last["cbp"], last["backprop"]).confidence_interval(0.95)
    assert (found["cbp"].low, found["cbp"].high) == pytest.approx((interval.low, interval.high))
    said = sentences(group, table, base, found)
    (line,) = [one for one in said if one.startswith("cbp ends")]
    gap = last["cbp"].mean() - last["backprop"].mean()
    assert f"{abs(gap):.2f}"[:3] in line and "below backprop, which is better" in line and "n = 8" in line
    assert said[0].startswith("backprop: loss ")


def test_nothing_is_called_better_that_cannot_be_told(tmp_path):
    for seed, name in enumerate(("backprop", "other")):
        frame = made_up.metrics("cbp", runs=3, bins=10, measures=False, seed=seed)
        made_up.write(tmp_path / name, made_up.config(name, 3), frame)
    reader = read(build(tmp_path))
    assert "which is better cannot be told" in reader.text and "▲</" not in reader.text


def test_another_stream_is_not_compared(tmp_path):
    own = made_up.config()["settings"]
    for name, length in (("backprop", 10_000), ("cbp", 5_000)):
        settings = made_up.config(name, 3, settings={**own, "task_length": length})
        made_up.write(tmp_path / name, settings, made_up.metrics(name, runs=3, bins=10, measures=False))
    reader = read(build(tmp_path))
    assert "cbp ends" not in reader.text and "beside backprop" not in reader.text


def test_the_same_runs_make_the_same_page(tmp_path):
    made_up.demo(tmp_path, runs=2, bins=4)
    first = build(tmp_path).read_bytes()
    assert build(tmp_path).read_bytes() == first


def test_what_users_wrote_is_escaped(tmp_path):
    settings = made_up.config("<b>mine</b>", 2, benchmark="a&b-v1", scale='"x"')
    made_up.write(tmp_path / "run", settings, made_up.metrics(runs=2, bins=3))
    source = build(tmp_path).read_text(encoding="utf-8")
    assert "<b>" not in source
    read(tmp_path / "report.html")


def test_a_report_of_before_survives_a_failure(tmp_path, monkeypatch):
    made_up.demo(tmp_path, runs=2, bins=3)
    before = build(tmp_path).read_bytes()
    with pytest.raises(SettingError, match="multiple"):
        build(tmp_path, bin_size=30_001)
    assert (tmp_path / "report.html").read_bytes() == before
    with pytest.raises(RunFolderError):
        build(tmp_path / "figures")
