"""What several experiments of the paper have in common: conditions, a claim, and where it appeared."""

from __future__ import annotations

from neoteny.report.claims.criteria import Beats, Claim
from neoteny.report.papers.condition import Condition, vary

NATURE, ARXIV = "Nature 632 (2024)", "arXiv 2306.13812"

BACKPROP, LINEAR = Condition("backprop", "backprop"), Condition("linear", "linear")
L2, CBP, ADAM = Condition("l2", "l2"), Condition("cbp", "cbp"), Condition("adam", "adam")
SHRINK = Condition("shrink-and-perturb", "shrink-and-perturb")
STEP_SIZES = vary("backprop", "step_size", (0.01, 0.003, 0.001), "step size {}")
VARIATIONS = (
    Condition("dropout 0.1", "backprop", {"dropout": 0.1}),
    Condition("layer norm", "backprop", {"normalisation": "layer"}),
)
AHEAD = Claim("Continual backpropagation ends ahead of backpropagation", Beats("cbp", "backprop"))
