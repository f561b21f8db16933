"""Can the check-up be trusted? False alarms and misses on networks of which it is known how well they still learn.

    python bench/checkup.py                 # what is missing of 240 networks, an hour of a core; then the page
    python bench/checkup.py --minutes 10    # begins no network after ten minutes
    python bench/checkup.py --report        # only the page

`checkup_networks.py` makes the networks and measures the truth, `checkup_forms.py` the direct measure on stacks of
networks. Its other forms, and the library's own, which trains one network after the other, are measured on the first
sixty networks, by which the form was chosen. What was measured is kept in `docs/evidence/checkup.parquet`, one row a
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
from checkup_forms import FORMS, forms
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


def signs(case: Case, model: nn.Module, start: nn.Module) -> dict[str, Any]:
    """The signs that the network shows since its start, and the direct measure as a stack."""
    x, y = recent(case)
    found = neoteny.diagnose(model, x, reference=start, targets=y)
    return {"signs": sorted({finding.symptom for finding in found.signs()}), **forms(case, model, ["direct"])}


def compared(case: Case, model: nn.Module, start: nn.Module) -> dict[str, Any]:
    """Other forms; and the library's own measure, told of loss and optimizer, and told nothing."""
    x, y = recent(case)
    told = {"scale": float(y.std())} if y.is_floating_point() else {"classes": int(model(x[:2]).shape[1])}
    library = trainability(model, x, reference=start, optimizer=case.make, **told)
    blind = trainability(model, x, reference=start)
    return {
        **forms(case, model, FORMS), "library": [library.errors, library.fresh_errors],
        "readiness": [library.readiness, library.fresh_readiness], "blind": [blind.errors, blind.fresh_errors],
    }  # fmt: skip


def work(folder: Path, until: float) -> bool:
    """Measure what is missing; whether nothing is left."""
    rows = {row["number"]: row for row in pl.read_parquet(TABLE).to_dicts()} if TABLE.exists() else {}
    jobs = [(number, signs, "signs") for number in range(NETWORKS)]
    for number, measure, column in [*jobs, *((number, compared, "library") for number in range(EXPLORED))]:
        row = rows.get(number, {})
        if row and (not row["finite"] or row.get(column) is not None):
            continue
        if time.monotonic() > until:
            return False
        content = known(number, folder)
        row = rows[number] = row or {**content["case"], "finite": content["finite"], **content["truth"]}
        if content["finite"]:
            row |= measure(*networks(content))
        pl.DataFrame([rows[key] for key in sorted(rows)], infer_schema_length=None).write_parquet(
            part := TABLE.with_suffix(".part")
        )
        part.replace(TABLE)
        print(number, column, row["source"], row["history"], flush=True)
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
