"""Can the check-up be trusted? False alarms and misses on networks of which it is known how well they still learn.

    python bench/checkup.py                 # what is missing of 240 networks, two hours of a core; then the page
    python bench/checkup.py --minutes 10    # begins no network after ten minutes
    python bench/checkup.py --report        # only the page

`checkup_networks.py` makes the networks and measures the truth, `checkup_forms.py` other forms of the direct measure on
the first sixty, by which this one was chosen. What was measured is kept in `docs/evidence/checkup.parquet`, one row a
network, every repetition as it was, so thresholds can be chosen anew without measuring.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from checkup_forms import forms
from checkup_networks import Case, known, recent
from torch import nn

import neoteny
from neoteny.measures import trainability

HERE = Path(__file__).parents[1] / "docs" / "evidence"
TABLE = HERE / "checkup.parquet"
NETWORKS, EXPLORED = 240, 60


def networks(content: dict[str, Any]) -> tuple[Case, nn.Module, nn.Module]:
    """The case, its network, and that at its start."""
    case = Case(**content["case"])
    model, start = case.build(0), case.build(0)
    model.load_state_dict(content["model"])
    start.load_state_dict(content["start"])
    return case, model.eval(), start.eval()


def kind(case: Case) -> dict[str, Any]:
    """What its user says to the check-up: classes or the size of the targets, and the optimizer."""
    x, y = recent(case)
    told = {"scale": float(y.std())} if y.is_floating_point() else {"classes": case.build(0)(x[:2]).shape[1]}
    return {**told, "optimizer": case.make}


def looked(case: Case, model: nn.Module, start: nn.Module) -> dict[str, Any]:
    """What the check-up finds when it is told of loss and optimizer."""
    x, y = recent(case)
    found = neoteny.diagnose(model, x, reference=start, targets=y, trainability=kind(case))
    direct = found.trainability
    assert direct is not None
    return {
        "signs": sorted({finding.symptom for finding in found.signs()}), "slowed": direct.slowed,
        "errors": direct.errors, "fresh_errors": direct.fresh_errors,
        "readiness": direct.readiness, "fresh_readiness": direct.fresh_readiness,
    }  # fmt: skip


def blind(case: Case, model: nn.Module, start: nn.Module) -> dict[str, Any]:
    """What the direct measure finds when it is told nothing: values, by Adam."""
    found = trainability(model, recent(case)[0], reference=start)
    return {"blind_errors": found.errors, "blind_fresh_errors": found.fresh_errors}


def work(networks_in: Path, until: float) -> bool:
    """Measure the networks that are missing; whether none is left."""
    done = pl.read_parquet(TABLE) if TABLE.exists() else pl.DataFrame()
    for number in range(NETWORKS):
        if done.height and number in done["number"]:
            continue
        if time.monotonic() > until:
            return False
        content = known(number, networks_in)
        row: dict[str, Any] = {**content["case"], "finite": content["finite"], **content["truth"]}
        if content["finite"]:
            case, model, start = networks(content)
            row |= looked(case, model, start)
            if number < EXPLORED:
                row |= blind(case, model, start) | forms(case, model)
        done = pl.concat([done, pl.DataFrame([row])], how="diagonal_relaxed")
        done.write_parquet(part := TABLE.with_suffix(".part"), compression="zstd")
        part.replace(TABLE)
        print(number, row["source"], row["history"], row.get("errors"), row.get("fresh_errors"), flush=True)
    return True


def main() -> None:
    """Measure what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=np.inf, help="begin no network after so long")
    parser.add_argument("--networks", type=Path, default=Path(".cache/checkup"), help="where networks are kept")
    parser.add_argument("--report", action="store_true", help="only the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.report or work(options.networks, time.monotonic() + 60 * options.minutes):
        from checkup_page import page

        page()


if __name__ == "__main__":
    main()
