from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from neoteny.errors import RunFolderError, SettingError
from neoteny.report import build
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
        if tag not in ("meta", "img", "source", "wbr"):
            self.open.append(tag)
        for key, value in attrs:
            if key in ("src", "srcset"):
                self.fetched.append(value)
            if key == "href":
                self.links.append(value)

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
    assert reader.fetched and all(address.startswith("data:image/svg+xml;base64,") for address in reader.fetched)
    source = page.read_text(encoding="utf-8")
    assert "<script" not in source and "@import" not in source and "url(" not in source
    for link in reader.links:
        assert f'id="{link[1:]}"' in source if link.startswith("#") else (tmp_path / link).is_file()
    said = "shrink-and-perturb|95% Student t interval|seed 1 by example|2 of 3|Left out|optimizer.learning_rate"
    for needed in (*said.split("|"), "slowly-changing-regression-v1", "half", "Example CPU", "0123456789abcdef"):
        assert needed in reader.text, needed
    figures = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert {name.rpartition(".")[2] for name in figures} == {"png", "pdf", "csv"}
    assert "slowly-changing-regression-v1-paper-loss.pdf" in figures
    assert not [name for name in figures if name.startswith(".")]


def test_the_same_runs_make_the_same_page(tmp_path):
    made_up.demo(tmp_path, runs=2, bins=4)
    first = build(tmp_path).read_bytes()
    assert build(tmp_path).read_bytes() == first


def test_dark_drawings_are_on_dark_paper(tmp_path):
    import base64

    made_up.demo(tmp_path, runs=2, bins=4)
    source = build(tmp_path).read_text(encoding="utf-8")
    drawn = {
        media: base64.b64decode(data).decode()
        for media, data in re.findall(r'<source media="([^"]+)" srcset="data:image/svg\+xml;base64,([^"]+)"', source)
    }
    assert len(drawn) == 3
    for media, svg in drawn.items():
        assert ("#17191c" in svg) == ("dark" in media)
        assert ("#ffffff" in svg) != ("dark" in media)


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
