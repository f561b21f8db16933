"""The page of `neoteny report`: what was found in sentences, then charts, tables, and where the numbers are from.

The page is one file that works without a network. Its charts are drawn by uPlot (MIT licence, version 1.6.32), which is
in the page, 50 kB: Plotly's script alone is 4.8 MB, and a page of Vega or Bokeh 1 MB. So nothing has to be
installed for it. Tables are written beside the page as CSV, and static figures for papers as PNG and PDF where asked.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from neoteny.progress import waiting
from neoteny.report.figures.curves import AXES, learning_curves
from neoteny.report.figures.fresh import WORDS
from neoteny.report.figures.panels import measures, sheets
from neoteny.report.figures.style import DARK, LIGHT, render
from neoteny.report.files import write
from neoteny.report.page import charts
from neoteny.report.page.details import many, name_of, provenance, settings, what_was_run
from neoteny.report.page.sentences import against_fresh, amount, reference, same_stream, sentences, verdict
from neoteny.report.runs.groups import Group, Runs, load
from neoteny.report.runs.metrics import direction, in_words, is_performance
from neoteny.report.runs.series import Series
from neoteny.report.statistics.cell import Cell
from neoteny.report.statistics.final_table import FinalTable, final_table
from neoteny.report.statistics.intervals import Kind, interval_name
from neoteny.report.statistics.paired import Difference, paired_differences

__all__ = ["build"]

TOGETHER = 6  # systems that one chart shows at first; of more, the best ones, and each in a small chart of its own

HOW_TO = (
    "Charts of more than eight systems have no bands. Drag to zoom, double click to go back; Shift and drag, or two "
    "fingers, to move along; Ctrl and the wheel, or two fingers, to zoom. Smoothing takes the mean of neighbouring "
    "points, of the band's bounds as well: such a band is never too narrow."
)
BESIDE = (
    "; last, beside {base}: paired difference on the same seeds with its 95% interval, ▲ better and ▼ worse where "
    "p < 0.05 after Holm's correction; – where the stream or the seeds are others"
)


def build(
    runs_dir: str | Path,
    *,
    out: str | Path | None = None,
    figures: bool = False,
    bin_size: int | None = None,
    interval: Kind = "t",
) -> Path:
    """Draw everything below a directory of runs and write `report.html`, and tables as CSV beside it.

    Every file is written whole or not at all; an older report stays until the new one is complete.

    Args:
        runs_dir: the directory that `neoteny run --out` wrote to, or one run folder.
        out: where to write; by default into `runs_dir`.
        figures: whether to draw static figures too, as PNG and PDF in `figures/`; the page links to them.
        bin_size: examples a point of the learning curves, a multiple of the recorded bins; by default these.
        interval: "t", "percentile" or "bca"; always 95%.

    Returns:
        The path of the page.

    Raises:
        RunFolderError: there is no run folder that can be used.
        SettingError: the bin size is not a multiple of the recorded one.
    """
    directory = Path(runs_dir)
    to = directory if out is None else Path(out)
    runs = load(directory)
    with waiting() as say:
        made = (_Section(group, directory, to, bin_size, interval, say) for group in runs)
        sections = [section.html(figures, len(runs) == 1) for section in made]
    return write(to / "report.html", _page(directory, runs, sections).encode())


def _page(directory: Path, runs: Runs, sections: Iterable[str]) -> str:
    systems = sum(len(group.series) for group in runs)
    total = sum(one.runs for group in runs for one in group.series)
    lead = ", ".join([many(len(runs), "benchmark"), many(systems, "system"), many(total, "run")]) + "."
    contents = ""
    if len(runs) > 1:
        links = (f'<li><a href="#{_slug(group)}">{escape(group.title)}</a></li>' for group in runs)
        contents = f"<nav><ul>{''.join(links)}</ul></nav>"
    if runs.problems:
        contents += _note("Left out, because they cannot be used:", map(str, runs.problems))
    themes = {
        f"{name}_{part}": value
        for name, theme in (("light", LIGHT), ("dark", DARK))
        for part, value in vars(theme).items()
    }
    # as a comment before the script: its licence asks to go with every copy
    library = f"/*\n{_part('uplot/LICENSE')}*/\n{_part('uplot/uPlot.iife.min.js')}"
    scripts = [library, _part("charts.js")]
    allowed = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts
    )
    return Template(_part("page.html")).substitute(
        themes,
        title=escape(directory.resolve().name or "runs"),
        lead=lead,
        contents=contents,
        sections="\n".join(sections),
        library_style=_part("uplot/uPlot.min.css"),
        scripts="\n".join(f"<script>{one}</script>" for one in scripts),
        allowed=allowed,
    )


def _part(name: str) -> str:
    return (files("neoteny.report.page") / name).read_text(encoding="utf-8")


class _Section:
    """The part of the page about one group; `say` is told what it is at."""

    def __init__(
        self,
        group: Group,
        directory: Path,
        to: Path,
        bin_size: int | None,
        interval: Kind,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.group, self.directory, self.to, self.bin_size = group, directory, to, bin_size
        self.interval: Kind = interval
        self.say = say
        self.slug = _slug(group)
        self.tables = [final_table(group, metric, interval=interval) for metric in self._each_of(group.metrics)]
        self.base = reference(group, self.tables[0]) if self.tables else 0
        base = group.series[self.base]
        self.alike = [place for place, one in enumerate(group.series) if same_stream(one, base)]
        self.found = [self._compared(table) for table in self.tables]
        self.looks = charts.looks(group)

    def _each_of(self, metrics: Iterable[str]) -> Iterator[str]:
        """The metrics one by one, each said."""
        for metric in metrics:
            self.say(f"drawing {self.group.title}: {in_words(metric)}")
            yield metric

    def _charts(self, metrics: Iterable[str], bin_size: int | None = None) -> list[charts.Chart]:
        return [
            one
            for metric in self._each_of(metrics)
            for one in charts.charts(self.group, [metric], self.interval, bin_size)
        ]

    def html(self, figures: bool, alone: bool) -> str:
        """Headings, sentences, charts, tables, then what is folded."""
        group = self.group
        parts = [f"<h2>{escape(group.title)}</h2>", f'<p class="lead">{escape(what_was_run(group))}</p>']
        if self.tables:
            said = sentences(group, self.tables[0], self.base, self.found[0])
            said += against_fresh(group, self.tables[0].metric)
            parts.append(f'<ul class="said">{"".join(f"<li>{escape(one)}</li>" for one in said)}</ul>')
        warnings = [f"{one.label}: {_ended(one)}" for one in group.series if one.ended]
        warnings += [f"{one.label}: {_unstable(one)}" for one in group.series if one.unstable]
        warnings += [f"{name_of(source, self.directory)}: {note}" for source in group.sources for note in source.notes]
        if warnings:
            parts.append(_note("Please note:", warnings))
        parts.append(self._board(alone))
        for table, found in zip(self.tables, self.found, strict=True):
            parts.append(self._table(table, found))
        if figures:
            parts.append(f'<p class="small">Static figures: {" ".join(self._static())}</p>')
        parts += [settings(group), provenance(group, self.directory)]
        return f'<section id="{self.slug}">\n{chr(10).join(parts)}\n</section>'

    def _compared(self, table: FinalTable) -> dict[str, Difference]:
        """Beside the reference: all systems that met the same stream."""
        scores = {table.rows[place].system: table.rows[place].scores for place in self.alike}
        return paired_differences(scores, table.rows[self.base].system)

    def _first(self) -> list[int]:
        """The systems chosen when the page opens: all, or of many the reference and those that ended best."""
        every = list(range(len(self.group.series)))
        if len(every) <= TOGETHER or not self.tables:
            return every[:TOGETHER]
        better, rows = direction(self.tables[0].metric), self.tables[0].rows
        beside = [place for place in every if rows[place].system in self.found[0]]
        best = sorted(beside, key=lambda place: -better * rows[place].last.mean)
        return sorted([self.base, *best[: TOGETHER - 2]])

    def _board(self, unfolded: bool) -> str:
        """The charts and what steers them; those of measures are folded where the page has several sections."""
        group = self.group
        curves = self._charts(group.metrics, self.bin_size)
        sections = [("What was measured on the networks", self._charts(group.measures))]
        sections.append(("How the agents learned", self._charts(group.diagnostics)))
        first, shown = self._first(), [*curves, *(one for _, part in sections for one in part)]
        if not shown:
            return ""
        parts = [self._controls(first, shown)]
        for place, one in enumerate(curves):
            parts.append(
                f"<h3>{_heading(one.metric)}</h3>{charts.panel(place, f'{in_words(one.metric)} of {group.title}')}"
            )
            parts.append(_axis(group))
            if place == 0 and len(group.series) > TOGETHER:
                parts.append(self._each(place, one))
        parts.append(f'<p class="small">{escape(self._small_print(curves or shown))}</p>')
        start = len(curves)
        for heading, part in sections:
            if part:
                folded = f"<details class='charts'{' open' * unfolded}><summary>{heading}</summary>"
                parts.append(f"{folded}{_grid(start, part)}{_axis(group)}</details>")
            start += len(part)
        data = charts.data(group, shown, self.base, first, self.alike)
        return f'<div class="board" id="{self.slug}-charts">{data}{"".join(parts)}</div>'

    def _controls(self, first: Sequence[int], shown: Sequence[charts.Chart]) -> str:
        chips = "".join(
            f'<button type="button" class="chip" data-system="{place}" aria-pressed="{str(place in first).lower()}">'
            f"{look.key}<span>{_breakable(look.label)}</span></button>"
            for place, look in enumerate(self.looks)
        )
        best = f'<button type="button" data-choose="first">best {len(first) - 1}</button>'
        choose = f'{best * (len(first) < len(self.looks))}<button type="button" data-choose="all">all</button>'
        choose += '<button type="button" data-choose="none">none</button>'
        moves = "".join(
            f'<button type="button" data-move="{move}" title="{title}" aria-label="{title}">{sign}</button>'
            for move, title, sign in (
                ("in", "Zoom in", "+"), ("out", "Zoom out", "−"), ("left", "To the left", "←"),
                ("right", "To the right", "→"), ("reset", "Show all", "reset"),
            )
        )  # fmt: skip
        smoothing = ""
        if max((len(line["mean"]) for one in shown for line in one.content["lines"]), default=0) > 10:
            smoothing = '<label>smoothing <input type="range" min="0" max="12" value="0"><output>off</output></label>'
        chips, choose = f'<div class="chips" role="group" aria-label="Systems">{chips}</div>', f"<span>{choose}</span>"
        if len(self.looks) == 1:
            chips = choose = ""  # nothing to choose from
        return f'<div class="controls">{chips}<div class="tools">{choose}<span>{moves}</span>{smoothing}</div></div>'

    def _each(self, place: int, one: charts.Chart) -> str:
        """Every system by itself, before the reference."""
        recorded = {line["system"] for line in one.content["lines"]}
        base = self.group.series[self.base].label
        panels = "".join(
            f"<figure><figcaption>{self.looks[system].key}{_breakable(self.looks[system].label)}</figcaption>"
            f"{charts.panel(place, f'{one.metric} of {self.looks[system].label}', 'small', system)}</figure>"
            for system in sorted(recorded)
        )
        heading = f"<h4>Each system by itself; dashed: {_breakable(base)}</h4>"
        return f'{heading}<div class="grid">{panels}</div>{_axis(self.group)}'

    def _small_print(self, shown: Sequence[charts.Chart]) -> str:
        counts = sorted({one.runs for one in self.group.series})
        n = " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))
        band = f"Mean over n = {n} runs; band: {interval_name(self.interval)}"
        if counts == [1]:
            band = "One run of each system, no interval"
        recorded = (one.curve(shown[0].metric, shown[0].layer, self.bin_size) for one in self.group.series)
        sizes = sorted({curve.bin_size for curve in recorded if curve.bin_size})
        joined = max(one.joined for one in shown)
        points = f"; bins of {' or '.join(f'{size:,}' for size in sizes)} {self.group.unit}" * bool(sizes)
        points += f", up to {joined} of them joined to a point" * (joined > 1)
        circles = f" {WORDS}" * any("fresh" in line for one in shown for line in one.content["lines"])
        return f"{band}{points}.{circles} {HOW_TO}"

    def _table(self, table: FinalTable, found: Mapping[str, Difference]) -> str:
        csv = table.write(self.to / "figures" / f"{self.slug}-{_file_name(table.metric)}.csv")
        base = table.rows[self.base].system
        headings = [*table.headings[:-1], *([f"last, beside {base}"] * bool(found)), table.headings[-1]]
        head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in headings)
        rows = []
        for row, look in zip(table.rows, self.looks, strict=True):
            cells = "".join(_cell(mean, bounds) for mean, bounds in table.cells(row))
            if found:
                cells += _beside(found.get(row.system), table)
            rows.append(f'<tr><th scope="row">{look.key}{_breakable(row.system)}</th>{cells}<td>{row.n}</td></tr>')
        beside = BESIDE.format(base=base) if found else ""
        body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
        return (
            f"<h3>First and last {self.group.unit}: {escape(in_words(table.metric))}</h3>"
            f'<div class="scroll"><table class="final">{body}</table></div>'
            f'<p class="small">{escape(table.caption)}{escape(beside)}. {_link(csv, "CSV")}</p>'
        )

    def _static(self) -> list[str]:
        """Write the static figures, and return links to them."""
        group, place = self.group, self.to / "figures"
        drawn = {
            _file_name(metric): learning_curves(group, metric, bin_size=self.bin_size, interval=self.interval)
            for metric in self._each_of(group.metrics)
        }
        for kind, recorded, what in (
            ("measures", group.measures, "measured every"),
            ("diagnostics", group.diagnostics, "bins of"),
        ):
            portions = sheets(group, recorded)
            for number, names in enumerate(portions, start=1):
                suffix = f"-{number}" * (len(portions) > 1)
                drawn[f"{kind}{suffix}"] = measures(group, [*self._each_of(names)], interval=self.interval, what=what)
        made = []
        for name, figure in drawn.items():
            for kind in ("png", "pdf"):
                self.say(f"drawing {group.title}: {name}.{kind}")
                path = write(place / f"{self.slug}-{name}.{kind}", render(figure, kind))
                made.append(_link(path, path.name.removeprefix(f"{self.slug}-")))
        return made


def _axis(group: Group) -> str:
    return f'<p class="small axis">{AXES[group.unit]}</p>'


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _heading(metric: str) -> str:
    better = f" <small>{'higher' if direction(metric) > 0 else 'lower'} is better</small>" * is_performance(metric)
    return f"{escape(_capital(in_words(metric)))}{better}"


def _grid(start: int, part: Sequence[charts.Chart]) -> str:
    """Small charts: those of a metric's layers under its name, then all that have one layer alone."""
    rows: dict[str, list[tuple[int, str]]] = {}
    for place, one in enumerate(part, start):
        rows.setdefault(one.metric, []).append((place, one.layer))
    made, alone = [], []
    for metric, panels in rows.items():
        words = in_words(metric)
        if len(panels) > 1:
            drawn = [_small(place, layer or "all layers", f"{words}, {layer}") for place, layer in panels]
            made.append(f'<h4>{escape(_capital(words))}</h4><div class="grid few">{"".join(drawn)}</div>')
        else:
            ((place, layer),) = panels
            alone.append(_small(place, _capital(words) + f", {layer}" * bool(layer), words))
    return "".join(made) + f'<div class="grid">{"".join(alone)}</div>' * bool(alone)


def _small(place: int, caption: str, about: str) -> str:
    return f"<figure><figcaption>{escape(caption)}</figcaption>{charts.panel(place, about, 'small')}</figure>"


def _cell(mean: str, bounds: str) -> str:
    signs = (mean.replace("-", "−"), escape(bounds.replace("-", "−")))
    return '<td><span class="mean">{}</span> <span class="bounds">{}</span></td>'.format(*signs)


def _beside(found: Difference | None, table: FinalTable) -> str:
    if found is None:
        return "<td>–</td>"
    cell = Cell(found.mean, found.low, found.high, found.n)
    sign = {1: " ▲", -1: " ▼", 0: ""}[verdict(found, table.metric)]
    return _cell(amount(cell, table.share) + sign, cell.parts(table.share)[1])


def _breakable(name: str) -> str:
    """A name that a narrow screen may break after these signs."""
    return re.sub("([=_,])", r"\1<wbr>", escape(name))


def _note(title: str, items: Iterable[str]) -> str:
    return f'<div class="note">{escape(title)}<ul>{"".join(f"<li>{escape(item)}</li>" for item in items)}</ul></div>'


def _ended(series: Series) -> str:
    runs = ", ".join(f"seed {seed} by {series.unit.removesuffix('s')} {step:,}" for seed, step in series.ended)
    which = f"{len(series.ended)} of {many(series.runs, 'run')}"
    return f"{which} became non-finite and ended ({runs}); n is smaller from there on"


def _unstable(series: Series) -> str:
    ended = f"{many(series.unstable, 'episode')} ended"
    return f"{ended} because the simulation became unstable; the reward of that step counts as 0"


def _link(path: Path, text: str) -> str:
    return f'<a href="{escape(path.parent.name)}/{escape(path.name)}">{escape(text)}</a>'


def _file_name(metric: str) -> str:
    """A metric's name as part of a file's: files of metrics come from others, and may say anything.

    >>> _file_name("test_accuracy"), _file_name("x/../../accuracy")
    ('test_accuracy', 'x-accuracy')
    """
    return re.sub(r"\W+", "-", metric)


def _slug(group: Group) -> str:
    return re.sub(r"[^a-z0-9]+", "-", f"{group.benchmark} {group.scale}".lower()).strip("-")
