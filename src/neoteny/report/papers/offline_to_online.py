"""Ball et al., "Efficient online reinforcement learning with offline data" (RLPD), ICML 2023.

Their agent learns online from fresh weights, half of each batch from a data set; nothing is pre-trained. That is what
Lee's talk "Towards plastic neural networks" holds against fine-tuning an agent that was trained on the data set before.
Returns are shares of episodes that reach the goal.
"""

from __future__ import annotations

from neoteny.report.claims.criteria import Beats, Claim
from neoteny.report.papers.condition import Condition
from neoteny.report.papers.records import Paper, PaperFigure

__all__ = ["OFFLINE_TO_ONLINE"]

PRETRAINED, FRESH, SCRATCH = "IQL, pre-trained", "RLPD, fresh weights", "SAC, no data set"

OFFLINE_TO_ONLINE = Paper(
    name="offline-to-online",
    title="Efficient online reinforcement learning with offline data",
    reference="Ball et al., ICML 2023, arXiv 2302.02948",
    figures=(
        PaperFigure(
            name="offline-to-online",
            title="Learning online with a data set at hand",
            source="Ball et al. (2023) and Lee's talk",
            benchmark="offline-to-online",
            conditions=(Condition(PRETRAINED, "iql"), Condition(FRESH, "rlpd"), Condition(SCRATCH, "backprop")),
            length=300_000,
            runs=10,
            fewer=5,
            metric="evaluation_return",
            axis="steps",
            bin=5_000,
            interval="bca",
            claims=(
                Claim("Fresh weights and the data set end above a pre-trained agent", Beats(FRESH, PRETRAINED)),
                Claim("The data set helps an agent with fresh weights", Beats(FRESH, SCRATCH)),
            ),
        ),
    ),
)
