"""What a reader should know of the runs behind a verdict; it stands in footnotes of the page of claims."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

__all__ = ["CHANGED", "UNKNOWN", "Chosen", "mark_of"]

CHANGED = (
    "Made with changes to the code that are in no commit: the commit that the provenance names does not make these "
    "runs again. The commands that made them are marked, too."
)
UNKNOWN = "The provenance of these runs names no commit. The commands that made them are marked, too."


def mark_of(commit: str | None) -> str:
    """What is to be said of runs that were made at a commit; empty where that is nothing.

    Args:
        commit: as the provenance has it: with a `+` after it if files were changed, None where it is not known.

    >>> mark_of("0123abc"), mark_of("0123abc+") == CHANGED, mark_of(None) == UNKNOWN
    ('', True, True)
    """
    return UNKNOWN if not commit else CHANGED if commit.endswith("+") else ""


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Settings of a figure's runs that were chosen here, by looking at runs.

    Attributes:
        said: which settings were chosen, by whom and how, as the beginning of a sentence.
        seeds: of the runs that were looked at; none where that was not recorded.
        scale: at which the figure's runs have these settings.
        curves: labels of those that have them; all of the figure's where none are named.

    >>> chosen = Chosen(said="The step size 0.1 was chosen of three by backprop", seeds=(0, 1), scale="small")
    >>> chosen.note([0, 1, 2])
    'The step size 0.1 was chosen of three by backprop, on the seeds 0 and 1, which are among those reported.'
    >>> chosen.note([10, 11])
    ''
    """

    said: str
    seeds: Sequence[int]
    scale: str
    curves: tuple[str, ...] = ()

    def note(self, reported: Collection[int]) -> str:
        """That they were chosen on reported seeds, or that it is not known on which; empty if it was on others.

        Args:
            reported: the seeds of the runs that a claim is judged by.
        """
        if not reported:
            return ""
        if not self.seeds:
            return f"{self.said}; on which seeds was not recorded."
        shared = set(self.seeds).intersection(reported)
        if not shared:
            return ""
        those = "which are" if shared == set(self.seeds) else f"of which {_listed(sorted(shared))} are"
        word = "seeds" if len(self.seeds) > 1 else "seed"
        return f"{self.said}, on the {word} {_listed(sorted(self.seeds))}, {those} among those reported."


def _listed(seeds: Sequence[int]) -> str:
    """Seeds as text.

    >>> _listed([3]), _listed([0, 1]), _listed([0, 1, 2, 3]), _listed([0, 4, 9])
    ('3', '0 and 1', '0 to 3', '0, 4 and 9')
    """
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    *first, last = map(str, seeds)
    return f"{', '.join(first)} and {last}" if first else last
