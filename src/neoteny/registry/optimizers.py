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
)
"""Every optimizer, by name."""
