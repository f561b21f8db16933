"""How every figure looks: one typeface, quiet axes, and a colour that stays with its system.

The colours are those of Okabe & Ito (2008) and Tol's muted scheme, which can be told apart with any kind of colour
vision. Each is moved towards the colour of the ink until its contrast with the paper, light or dark, is enough. The
settings of a grid are shades of their system's colour, from pale to deep.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from colorsys import hsv_to_rgb
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import chain
from itertools import count as count_up
from typing import Any

import matplotlib
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.ticker import Formatter, FuncFormatter, MaxNLocator

from neoteny.report.runs.metrics import is_share
from neoteny.report.runs.series import Series

__all__ = ["DARK", "LIGHT", "Theme", "colours", "count", "drawing", "dress", "new_figure", "per_cent", "render"]

DPI = 150
TYPEFACES = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")
COLOURS = {
    "backprop": "#D55E00",
    "tuned-adam": "#783CD8",
    "cbp": "#0072B2",
    "shrink-and-perturb": "#009E73",
    "l2": "#E69F00",
    "l2-init": "#CC79A7",
    "redo": "#56B4E9",
    "linear": "#4D4D4D",
    "head-reset": "#117733",
    "full-reset": "#DDCC77",
}
SPARE = ("#332288", "#AA4499", "#CC6677", "#44AA99", "#882255", "#999933", "#661100", "#88CCEE")


@dataclass(frozen=True)
class Theme:
    """The colours of paper and ink."""

    paper: str
    ink: str
    muted: str
    grid: str
    contrast: float  # the least that a line has with the paper


LIGHT = Theme(paper="#ffffff", ink="#1a1a1a", muted="#666666", grid="#e6e6e6", contrast=2.2)
DARK = Theme(paper="#17191c", ink="#ececec", muted="#a0a4a8", grid="#303438", contrast=3.0)


class Canvas(Figure):
    """A figure that pyplot does not keep a list of, but that a notebook shows."""

    def _repr_png_(self) -> bytes:
        return render(self, "png")


@contextmanager
def drawing(theme: Theme = LIGHT) -> Iterator[None]:
    """Draw in this style, and leave matplotlib's settings as they were."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        for name, value in _settings(theme).items():
            matplotlib.rcParams[name] = value  # pyright: ignore[reportArgumentType]
        yield


@cache
def _typeface() -> str:
    """The first of these that is installed, by its own name: what "sans-serif" means may change before the saving."""
    here = {font.name for font in fontManager.ttflist}
    return next((name for name in TYPEFACES if name in here), "DejaVu Sans")


def _settings(theme: Theme) -> dict[str, Any]:
    return {
        "font.family": _typeface(),
        "font.size": 8.5,
        "axes.titlesize": 8.5,
        "axes.labelsize": 8.5,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.muted,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.linewidth": 0.7,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "xtick.major.size": 3,
        "ytick.major.size": 3,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.5,
        "lines.solid_capstyle": "round",
        "pdf.fonttype": 42,
        "svg.hashsalt": "neoteny",
    }


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    figure = Canvas(figsize=(width, height), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, kind: str) -> bytes:
    """The figure as the bytes of a "png", "pdf" or "svg", without the date, so that equal figures are equal files."""
    buffer = io.BytesIO()
    metadata = {"png": {"Software": "neoteny"}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}[kind]
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.hashsalt": "neoteny"}):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def colours(series: Sequence[Series], theme: Theme = LIGHT) -> list[str]:
    """One colour a series: that of its system.

    Where a system has several, numbers that set them apart make shades from pale to deep; other settings, such as
    activations, get colours of their own.
    """
    systems = {one.system for one in series}
    base = COLOURS | dict(zip(sorted(systems - set(COLOURS)), chain(SPARE, _further()), strict=False))
    used = {base[system] for system in systems}
    spare = (colour for colour in chain(SPARE, COLOURS.values(), _further()) if colour not in used)
    chosen = []
    for one in series:
        family = [other for other in series if other.system == one.system]
        place = family.index(one)
        shaded = len(family) > 1 and all(_is_number(value) for other in family for value in other.apart.values() or "?")
        if place and not shaded:
            chosen.append(_towards(next(spare), theme.ink, theme))
            continue
        hue = _towards(base[one.system], theme.ink, theme)
        if shaded:
            # The shades go through the hue itself, unless it is already as pale as allowed.
            shades = list(dict.fromkeys([_towards(hue, theme.paper, theme), hue, _mix(hue, theme.ink, 0.6)]))
            share = (len(shades) - 1) * place / (len(family) - 1)
            lower = min(int(share), len(shades) - 2)
            hue = _mix(shades[lower], shades[lower + 1], share - lower)
        chosen.append(hue)
    return chosen


def _further() -> Iterator[str]:
    """Hues without end, each far from those just before it: their places on the circle are golden sections."""
    return (
        to_hex(hsv_to_rgb((0.08 + place * 0.6180339887) % 1, 0.75, 0.7 - 0.25 * (place % 2))) for place in count_up()
    )


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def _mix(colour: str, other: str, share: float) -> str:
    red, green, blue = ((1 - share) * a + share * b for a, b in zip(to_rgb(colour), to_rgb(other), strict=True))
    return to_hex((red, green, blue))


def _towards(colour: str, other: str, theme: Theme) -> str:
    """A colour moved towards the paper as far as the contrast allows, or towards the ink until there is enough."""
    mixes = [_mix(colour, other, step / 40) for step in range(41)]
    enough = [mix for mix in mixes if contrast(mix, theme.paper) >= theme.contrast]
    return (enough[0] if other == theme.ink else enough[-1]) if enough else colour


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2.1): 1 of equals, 21 of black and white.

    >>> contrast("black", "white")
    21.0
    """

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


def count(number: float) -> str:
    """A number of examples, short.

    >>> count(0), count(20_000), count(1_500_000), count(250)
    ('0', '20 k', '1.5 M', '250')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.4g} {letter}"
    return f"{number:.4g}"


class _PerCent(Formatter):
    """Per cent with the same decimals on all ticks, no more than they need."""

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        decimals = next((d for d in range(4) if all(abs(round(100 * v, d) - 100 * v) < 1e-6 for v in values)), 4)
        return [f"{100 * value:.{decimals}f}%" for value in values]

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{100 * x:.2f}%"


def per_cent(axis: Axis) -> None:
    """Tick labels of an axis that shows a share."""
    axis.set_major_formatter(_PerCent())


def dress(axes: Any, metric: str, ticks: int = 6) -> None:
    """Tick labels of an axes that shows a metric over examples."""
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10], integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    if is_share(metric):
        per_cent(axes.yaxis)
    elif metric == "units_replaced":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
