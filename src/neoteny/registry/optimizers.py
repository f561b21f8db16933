"""The optimizers of this package."""

from __future__ import annotations

from neoteny.registry.table import Entry, Table

OPTIMIZERS = Table(
    "optimizer",
    "neoteny.optim.base:Optimizer",
    "name",
    "neoteny.optimizers",
    Entry(
        "sgd",
        "neoteny.optim.sgd:SGD",
        "stochastic gradient descent, with heavy-ball momentum",
        "Robbins & Monro, Ann. Math. Stat. 22, 1951; Polyak, USSR Comp. Math. 4, 1964 (momentum)",
    ),
    Entry(
        "adam",
        "neoteny.optim.adam:Adam",
        "steps divided by the root of the gradients' mean square",
        "Kingma & Ba, ICLR 2015",
    ),
    Entry(
        "adamw",
        "neoteny.optim.adamw:AdamW",
        "Adam with decoupled weight decay",
        "Loshchilov & Hutter, ICLR 2019",
    ),
    Entry(
        "adamo",
        "neoteny.optim.adamo:AdamO",
        "Adam, with weight matrices pulled towards orthogonal ones beside it",
        "Rosseau, Müller & Nowé, ICML 2026, arXiv 2606.09762",
    ),
    Entry(
        "muon",
        "neoteny.optim.muon:Muon",
        "momentum whose singular values are all made about one; Adam for what is no hidden matrix",
        "Jordan et al., https://kellerjordan.github.io/posts/muon, 2024",
    ),
    Entry(
        "trace-sgd",
        "neoteny.optim.trace_sgd:TraceSGD",
        "steps along eligibility traces with one step size: TD(lambda)",
        "Sutton, Machine Learning 3, 1988",
    ),
    Entry(
        "obgd",
        "neoteny.optim.obgd:ObGD",
        "steps along eligibility traces, bounded so that they do not overshoot",
        "Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024",
    ),
    Entry(
        "adaptive-obgd",
        "neoteny.optim.obgd:AdaptiveObGD",
        "ObGD with traces divided by the root of their mean square",
        "Elsayed, Vasan & Mahmood, arXiv 2410.14606, 2024",
    ),
    Entry(
        "true-online-td",
        "neoteny.optim.true_online_td:TrueOnlineTD",
        "TD(lambda) for linear predictions that equals the forward view at every step",
        "van Seijen, Mahmood, Pilarski, Machado & Sutton, JMLR 17, 2016",
    ),
    Entry(
        "swift-td",
        "neoteny.optim.swift_td:SwiftTD",
        "true online TD(lambda) with a learned step size a weight and a bound on the rate of learning",
        "Javed, Sharifnassab & Sutton, RLC 2024",
    ),
    Entry(
        "intentional",
        "neoteny.optim.intentional:Intentional",
        "steps along traces, each chosen by the share of the error that it shall take away",
        "Sharifnassab, Elsayed, De Asis, Mahmood & Sutton, arXiv 2604.19033, 2026",
    ),
    Entry(
        "variance-adjusted",
        "neoteny.optim.variance_adjusted:VarianceAdjusted",
        "steps along traces, divided by the root mean square of their recent values",
        "Gogianu, Lutu & Pascanu, arXiv 2605.06764, 2026",
    ),
    Entry(
        "nlms",
        "neoteny.optim.nlms:NLMS",
        "each step takes the same share of a prediction's error away",
        "Nagumo & Noda, IEEE TAC 12, 1967",
    ),
    Entry(
        "idbd",
        "neoteny.optim.idbd:IDBD",
        "a step size for each weight, adapted by gradient descent",
        "Sutton, AAAI 1992",
    ),
    Entry(
        "k1",
        "neoteny.optim.k1:K1",
        "a diagonal Kalman gain, adapted by gradient descent",
        "Sutton, Yale Workshop on Adaptive and Learning Systems, 1992",
    ),
    Entry(
        "k2",
        "neoteny.optim.k2:K2",
        "a diagonal Kalman gain, adapted to the size of the errors",
        "Sutton, Yale Workshop on Adaptive and Learning Systems, 1992",
    ),
    Entry(
        "autostep",
        "neoteny.optim.autostep:Autostep",
        "IDBD normalised, so that its meta step size needs no tuning, and bounded",
        "Mahmood, Sutton, Degris & Pilarski, ICASSP 2012",
    ),
    Entry(
        "tidbd",
        "neoteny.optim.tidbd:TIDBD",
        "IDBD for TD learning with eligibility traces",
        "Kearney, Veeriah, Travnik, Sutton & Pilarski, arXiv 1804.03334, 2018",
    ),
    Entry(
        "auto-tidbd",
        "neoteny.optim.auto_tidbd:AutoTIDBD",
        "TIDBD with Autostep's normalisation and bound",
        "Kearney, Veeriah, Travnik, Pilarski & Sutton, arXiv 1903.03252, 2019",
    ),
    Entry(
        "hypergradient",
        "neoteny.optim.hypergradient:Hypergradient",
        "SGD with one step size that descends itself",
        "Baydin, Cornish, Martinez Rubio, Schmidt & Wood, ICLR 2018",
    ),
    Entry(
        "smd",
        "neoteny.optim.smd:SMD",
        "a step size for each weight, adapted with the whole Gauss-Newton matrix",
        "Schraudolph, ICANN 1999; Neural Computation 14, 2002",
    ),
    Entry(
        "meta-optimize",
        "neoteny.optim.meta_optimize:MetaOptimize",
        "step sizes of one optimizer adapted by another, for all weights, each layer or each weight",
        "Sharifnassab, Salehkaleybar & Sutton, ICML 2025",
    ),
)
"""Every optimizer, by name."""
