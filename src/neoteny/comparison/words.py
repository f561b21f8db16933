"""What a comparison says, in sentences."""

from __future__ import annotations

import numpy as np

from neoteny.comparison.entries import ALPHA, BARE, FRESH, Entries
from neoteny.report.statistics.cell import Cell
from neoteny.report.statistics.paired import differences

__all__ = ["sentences"]


def sentences(found: Entries) -> list[str]:
    """The verdict, then what the fresh network shows, then what is missing."""
    return [*_verdict(found), *_fresh(found), *_missing(found)]


def _verdict(found: Entries) -> list[str]:
    bare = found.scores(BARE)
    broken = int((~np.isfinite(bare)).sum())
    if broken:
        said = f"{broken} of {found.seeds} runs of the bare loop became non-finite"
        return [f"{said}; {found.best} has the best mean of the methods that did not." if found.better else f"{said}."]
    if found.seeds == 1:
        return ["One run of each: which is better cannot be told from that. Give seeds=5 or more."]
    if not found.better:
        told = ["No method is better than the bare loop here."]
        good = [n for n, one in found.against_bare.items() if found.sign * one.mean > 0]
        if good:
            lead = max(good, key=lambda name: found.sign * found.against_bare[name].mean)
            one = found.against_bare[lead]
            told.append(f"The best of them is {lead}: {_gap(found, lead)}, p = {one.p:.2g}; more seeds may tell.")
        return told
    told = [f"{found.best} is better than the bare loop: {_gap(found, found.best)}."]
    if found.level:
        told.append(f"Better, too, and not to be told from it: {', '.join(found.level)}.")
    return told


def _gap(found: Entries, name: str) -> str:
    one, share = found.against_bare[name], found.metric == "accuracy"
    mine, bare = (_mean(found, each) for each in (name, BARE))
    gap = Cell(one.mean, one.low, one.high, found.seeds).text(share, signed=True)
    return f"{found.metric} {mine} against {bare}, a difference of {gap}{' points' * share}"


def _mean(found: Entries, name: str) -> str:
    value = float(found.scores(name).mean())
    return f"{value:.1%}" if found.metric == "accuracy" else f"{value:.4g}"


def _fresh(found: Entries) -> list[str]:
    """The second half of each stretch after a beginning: there the fresh network has learned for a while."""
    if not found.anew:
        return []
    ends = [*found.anew[1:], len(found.sizes)]
    late = np.concatenate([np.arange((one + end) // 2, end) for one, end in zip(found.anew, ends, strict=True)])
    scores = {name: found.scores(name, late) for name in (BARE, FRESH)}
    if found.seeds == 1 or not all(np.isfinite(own).all() for own in scores.values()):
        return []
    one = differences(scores, to=BARE)[FRESH]
    gap = Cell(one.mean, one.low, one.high, found.seeds).text(found.metric == "accuracy", signed=True)
    said = (
        f"A network that begins anew {len(found.anew)} times, in the second half of its stretches, against the bare "
        f"loop on the same batches: {gap}{' points' * (found.metric == 'accuracy')} of {found.metric}"
    )
    if one.p >= ALPHA:
        return [f"{said}: no difference that could be told from chance."]
    if found.sign * one.mean > 0:
        return [f"{said}: it learns better than the one that learned before, so plasticity is being lost."]
    return [f"{said}: what the bare loop has learned before is worth more than a new beginning."]


def _missing(found: Entries) -> list[str]:
    told = []
    for entry in found.entries:
        ended = int((~np.isfinite(found.scores(entry.name))).sum())
        if ended and entry.name != BARE:
            told.append(f"{entry.name}: {ended} of {found.seeds} runs became non-finite.")
    reasons = (f"Left out: {name}, which cannot act on this network: {why}" for name, why in found.left_out.items())
    return [*told, *reasons]
