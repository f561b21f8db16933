"""The page of `neoteny report`: what was run, how it ended, the figures, and where the numbers come from.

The page is one file without scripts, fonts or requests: figures are drawn as SVG for wide and for narrow screens, on
light and on dark paper, and stand in it as data URIs. The same figures are written beside it as PNG and PDF, the tables
as CSV.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from matplotlib.figure import Figure

from neoteny.report.figures.curves import learning_curves
from neoteny.report.figures.panels import measures, sheets
from neoteny.report.figures.style import DARK, LIGHT, Theme, colours, render
from neoteny.report.files import write
from neoteny.report.runs.folders import RunFrame
from neoteny.report.runs.groups import Group, Runs, load
from neoteny.report.runs.series import Series, settings_of
from neoteny.report.runs.settings import differing, format_number
from neoteny.report.statistics.final_table import FinalTable, final_table
from neoteny.report.statistics.intervals import Kind

__all__ = ["build"]


def build(runs_dir: str | Path, *, bin_size: int | None = None, interval: Kind = "t") -> Path:
    """Draw everything below a directory of runs and write `report.html` into it.

    Beside the page, `figures/` gets each figure as PNG and PDF and each table as CSV. Every file is written whole or
    not at all; an older report stays until the new one is complete.

    Args:
        runs_dir: the directory that `neoteny run --out` wrote to, or one run folder.
        bin_size: examples a point of the learning curves, a multiple of the recorded bins; by default these.
        interval: "t", "percentile" or "bca"; always 95%.

    Returns:
        The path of the page.

    Raises:
        RunFolderError: there is no run folder that can be used.
        SettingError: the bin size is not a multiple of the recorded one.
    """
    directory = Path(runs_dir)
    runs = load(directory)
    sections = [_section(group, directory, bin_size, interval) for group in runs]
    return write(directory / "report.html", _page(directory, runs, sections).encode())


def _page(directory: Path, runs: Runs, sections: Iterable[str]) -> str:
    systems = sum(len(group.series) for group in runs)
    total = sum(one.runs for group in runs for one in group.series)
    lead = ", ".join([_many(len(runs), "benchmark"), _many(systems, "system"), _many(total, "run")]) + "."
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
    page = Template((files("neoteny.report.page") / "page.html").read_text(encoding="utf-8"))
    name = directory.resolve().name or "runs"
    return page.substitute(themes, title=escape(name), lead=lead, contents=contents, sections="\n".join(sections))


def _section(group: Group, directory: Path, bin_size: int | None, interval: Kind) -> str:
    slug = _slug(group)
    place = directory / "figures"
    parts = [f"<h2>{escape(group.benchmark)}</h2>", f'<p class="lead">{escape(_what_was_run(group))}</p>']
    warnings = [f"{one.label}: {_ended(one)}" for one in group.series if one.ended]
    warnings += [f"{one.label}: {_unstable(one)}" for one in group.series if one.unstable]
    warnings += [f"{_name(source, directory)}: {note}" for source in group.sources for note in source.notes]
    if warnings:
        parts.append(_note("Please note:", warnings))
    for metric in group.metrics:

        def draw(theme: Theme, narrow: bool, metric: str = metric) -> Figure:
            return learning_curves(group, metric, bin_size=bin_size, interval=interval, theme=theme, narrow=narrow)

        table = final_table(group, metric, interval=interval)
        csv = table.write(place / f"{slug}-{_file_name(metric)}.csv")
        parts.append(
            _figure(draw, place / f"{slug}-{_file_name(metric)}", f"Learning curves of {group.title}: {metric}.", group)
        )
        parts.append(f"<h3>First and last {group.unit}: {escape(metric)}</h3>{_table(table, group)}")
        parts.append(f'<p class="small">{escape(table.caption)}. {_link(csv, "CSV")}</p>')
    for heading, kind, recorded, what in (
        ("What was measured on the networks", "measures", group.measures, "measured every"),
        ("How the agents learned", "diagnostics", group.diagnostics, "bins of"),
    ):
        portions = sheets(group, recorded)
        for number, names in enumerate(portions, start=1):

            def draw_panels(theme: Theme, narrow: bool, names: list[str] = names, what: str = what) -> Figure:
                return measures(group, names, interval=interval, theme=theme, narrow=narrow, what=what)

            suffix = f"-{number}" * (len(portions) > 1)
            if number == 1:
                parts.append(f"<h3>{heading}</h3>")
            about = f"{kind.capitalize()} over time of {group.title}: {', '.join(names)}."
            parts.append(_figure(draw_panels, place / f"{slug}-{kind}{suffix}", about, group))
    parts += [_settings(group), _provenance(group, directory)]
    return f'<section id="{slug}">\n{chr(10).join(parts)}\n</section>'


def _what_was_run(group: Group) -> str:
    counts = sorted({one.runs for one in group.series})
    runs = _many(counts[0], "run") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} runs"
    end = max((int(one.frame["step"].to_numpy().max(initial=0)) for one in group.series), default=0)
    scale = f"{group.scale} scale, " if group.scale else ""
    return f"{scale}{_many(len(group.series), 'system')}, {runs} each, {end:,} {group.unit} a run."


def _figure(draw: Callable[[Theme, bool], Figure], path: Path, about: str, group: Group) -> str:
    """Write a figure as PNG and PDF, and return it as a picture of four drawings: wide and narrow, light and dark."""
    wide, narrow = draw(LIGHT, False), draw(LIGHT, True)
    made = [write(path.with_name(f"{path.name}.{kind}"), render(wide, kind)) for kind in ("png", "pdf")]
    wide_svg, narrow_svg = (
        re.sub(rb"<\?xml.*?<svg", b"<svg", render(figure, "svg"), flags=re.S) for figure in (wide, narrow)
    )
    night = _night(group)
    sources = [
        ("(max-width: 600px) and (prefers-color-scheme: dark)", night(narrow_svg)),
        ("(max-width: 600px)", narrow_svg),
        ("(prefers-color-scheme: dark)", night(wide_svg)),
    ]
    links = " ".join(_link(file, file.suffix[1:].upper()) for file in made)
    return (
        "<figure><picture>"
        + "".join(f'<source media="{media}" srcset="{_data(svg)}">' for media, svg in sources)
        + f'<img src="{_data(wide_svg)}" alt="{escape(about)}"></picture><figcaption>{links}</figcaption></figure>'
    )


def _night(group: Group) -> Callable[[bytes], bytes]:
    """Exchange the colours of a drawing on light paper for those on dark paper: quicker than drawing it again."""
    day, night = colours(group.series, LIGHT), colours(group.series, DARK)
    exchange = {old.encode(): new.encode() for old, new in zip(day, night, strict=True)}
    exchange |= {
        getattr(LIGHT, part).encode(): getattr(DARK, part).encode() for part in ("paper", "ink", "muted", "grid")
    }
    return lambda svg: re.sub(rb"#[0-9a-f]{6}", lambda found: exchange.get(found[0], found[0]), svg)


def _data(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _table(table: FinalTable, group: Group) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    rows = []
    for row, light, dark in zip(table.rows, colours(group.series, LIGHT), colours(group.series, DARK), strict=True):
        cells = "".join(
            f'<td><span class="mean">{mean.replace("-", "−")}</span> <span class="bounds">{escape(bounds)}</span></td>'
            for mean, bounds in table.cells(row)
        )
        name = re.sub("([=_])", r"\1<wbr>", escape(row.system))  # where a narrow screen may break it
        swatch = f'<span class="swatch" style="--light:{light};--dark:{dark}"></span>'
        rows.append(f'<tr><th scope="row">{swatch}{name}</th>{cells}<td>{row.n}</td></tr>')
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="final">{body}</table></div>'


def _settings(group: Group) -> str:
    """Settings that all systems share, then those in which they differ."""
    each = [settings_of(one) for one in group.series]
    apart = differing(each)
    body = _facts((key, _plain(value)) for key, value in each[0].items() if key not in apart)
    own = []
    for one, settings in zip(group.series, each, strict=True):
        text = ", ".join(f"{key} = {_plain(settings[key])}" for key in apart if key in settings)
        own += [(one.label, text)] * bool(text)
    if own:
        body += f'<p class="small">Where the systems differ:</p>{_facts(own)}'
    seeds: dict[str, list[str]] = {}
    for one in group.series:
        seeds.setdefault(_ranges(one.seeds), []).append(one.label)
    who = ((", ".join(labels) if len(seeds) > 1 else "all systems", numbers) for numbers, labels in seeds.items())
    body += f'<p class="small">Seeds:</p>{_facts(who)}'
    return f"<details><summary>Settings</summary>{body}</details>"


def _provenance(group: Group, directory: Path) -> str:
    """What all folders share, then what is each one's own."""
    each = [source.provenance for source in group.sources]
    apart = differing(each)
    body = _facts((key, _plain(value, key)) for key, value in each[0].items() if key not in apart)
    for source in group.sources:
        rows = [(key, _plain(source.provenance[key], key)) for key in apart if key in source.provenance]
        rows = rows or [("", "as above" if source.provenance else "not recorded")]
        body += f'<p class="small"><code>{escape(_name(source, directory))}</code></p>{_facts(rows)}'
    return f"<details><summary>Where it was run</summary>{body}</details>"


def _name(source: RunFrame, directory: Path) -> str:
    """The folder as seen from the report; the system where it is the report's own."""
    inside = source.path is not None and source.path != directory and source.path.is_relative_to(directory)
    return str(source.path.relative_to(directory)) if source.path and inside else source.system


def _plain(value: Any, key: str = "") -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(part)}" for name, part in value.items())
    if key == "seconds" and isinstance(value, int | float):
        return f"{value:.1f}" if value < 120 else f"{value:.0f} ({value / 60:.0f} minutes)"
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return "none" if value is None else format_number(value)


def _facts(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in rows)
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def _note(title: str, items: Iterable[str]) -> str:
    return f'<div class="note">{escape(title)}<ul>{"".join(f"<li>{escape(item)}</li>" for item in items)}</ul></div>'


def _ended(series: Series) -> str:
    runs = ", ".join(f"seed {seed} by {series.unit.removesuffix('s')} {step:,}" for seed, step in series.ended)
    which = f"{len(series.ended)} of {_many(series.runs, 'run')}"
    return f"{which} became non-finite and ended ({runs}); n is smaller from there on"


def _unstable(series: Series) -> str:
    ended = f"{_many(series.unstable, 'episode')} ended"
    return f"{ended} because the simulation became unstable; the reward of that step counts as 0"


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers as text, with consecutive ones as a range.

    >>> _ranges([0, 1, 2, 5, 7, 8])
    '0-2, 5, 7-8'
    """
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


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
