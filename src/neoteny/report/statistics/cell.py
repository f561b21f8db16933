"""A mean with its interval as text: what stands in the cell of a table."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from neoteny.report.statistics.intervals import Interval

__all__ = ["Cell", "latex_table", "markdown_table"]


@dataclass(frozen=True)
class Cell:
    """A mean over n runs with its interval.

    Attributes:
        mean: NaN where no run is left.
        low: lower bound of the interval; NaN where fewer than two runs are left.
        high: upper bound.
        n: how many runs took part.
        kind: of the interval; those of "t" and "se" are symmetric and written with ±.

    >>> print(Cell(1.2468, 1.2101, 1.2835, 30), "|", Cell(1.2468, 1.2101, 1.2935, 30, kind="bca"))
    1.247 ± 0.037 | 1.247 [1.210, 1.294]
    >>> print(Cell(1.2468, math.nan, math.nan, 1), "|", Cell(math.nan, math.nan, math.nan, 0))
    1.247 | -
    >>> print(Cell(0.3, 0.3, 0.3 + 1e-16, 5))
    0.3000 ± 0.0000
    >>> print(Cell(3e-8, 2e-8, 4e-8, 5))
    3e-08 ± 1e-08
    """

    mean: float
    low: float
    high: float
    n: int
    kind: str = "t"

    @classmethod
    def of(cls, interval: Interval, kind: str | None = None) -> Cell:
        """The cell of an interval over a single column."""
        numbers = float(interval.mean), float(interval.low), float(interval.high)
        return cls(*numbers, int(interval.n), kind or interval.kind)

    def parts(self, share: bool = False, signed: bool = False) -> tuple[str, str]:
        """Mean and interval as text; the width of the interval decides how many decimals there are.

        Args:
            share: whether to show per cent.
            signed: whether a positive mean has its sign.
        """
        if not math.isfinite(self.mean):
            return "-", ""
        mean, low, high, half = self._scaled(share)
        number = self.number(share)
        text = f"{mean:{'+' if signed else ''}{number}}"
        if not math.isfinite(half):
            return text, ""
        # Student's interval is symmetric, that of a bootstrap need not be.
        return text, f"± {half:{number}}" if self.kind in ("t", "se") else f"[{low:{number}}, {high:{number}}]"

    def number(self, share: bool = False) -> str:
        """How mean and bounds are written, as a format; with an exponent where decimals would not show them."""
        mean, _, _, half = self._scaled(share)
        size = max(abs(mean), half) if math.isfinite(half) else abs(mean)
        return ".4g" if abs(mean) >= 1e6 or 0 < size < 1e-5 else f".{_decimals(half, mean)}f"

    def _scaled(self, share: bool) -> tuple[float, float, float, float]:
        """Mean, bounds and half the interval, in per cent if asked."""
        mean, low, high = ((100.0 if share else 1.0) * value for value in (self.mean, self.low, self.high))
        return mean, low, high, (high - low) / 2

    def text(self, share: bool = False, signed: bool = False) -> str:
        """Mean and interval in one."""
        return " ".join(self.parts(share, signed)).strip()

    def __str__(self) -> str:
        return self.text()


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    r"""A Markdown table: its headings, its alignments, its rows.

    >>> print(markdown_table([("name", "n"), ("---", "---:"), ("a|b", "3")]))
    | name | n |
    | --- | ---: |
    | a\|b | 3 |
    """
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


def latex_table(rows: Sequence[Sequence[str]], caption: str) -> str:
    r"""A LaTeX table with rules of the package booktabs: its headings, its rows, what it shows.

    >>> print(latex_table([("a_b", "last"), ("cbp", "-1.2 ± 0.3"), ("l2", "50% [-3, 4]")], "100 %"))
    \begin{table}
    \centering
    \begin{tabular}{lr}
    \toprule
    a\_b & last \\
    \midrule
    cbp & $-1.2 \pm 0.3$ \\
    l2 & 50\% [$-3$, 4] \\
    \bottomrule
    \end{tabular}
    \caption{100 \%}
    \end{table}
    """
    head, *body = (" & ".join(map(_latex, row)) + r" \\" for row in rows)
    lines = [r"\begin{table}", r"\centering", rf"\begin{{tabular}}{{l{'r' * (len(rows[0]) - 1)}}}", r"\toprule", head]
    lines += [r"\midrule", *body, r"\bottomrule", r"\end{tabular}", rf"\caption{{{_latex(caption)}}}", r"\end{table}"]
    return "\n".join(lines)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
}
_LATEX |= {sign: "\\" + sign for sign in "&%$#_{}"}


def _latex(text: str) -> str:
    """Text as LaTeX has it; numbers with a sign or with ± in formulas, so that a minus is one."""
    if re.fullmatch(r"[-+]?[\d.e+-]+ ± [\d.e+-]+", text):
        return f"${text.replace('±', chr(92) + 'pm')}$"
    escaped = "".join(_LATEX.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w=-])[-+][\d.]+", lambda number: f"${number[0]}$", escaped)


def _decimals(half_width: float, mean: float) -> int:
    """Two figures of the half-width; four of the mean where there is no interval, or none but of rounding."""
    if math.isfinite(half_width) and half_width > 1e-12 * abs(mean):
        return min(max(1 - math.floor(math.log10(half_width)), 0), 6)
    return min(max(3 - math.floor(math.log10(abs(mean))), 0), 6) if mean else 3
