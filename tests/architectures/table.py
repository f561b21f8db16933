"""The zoo: every architecture by its name."""

from __future__ import annotations

from architectures.attention import ATTENTION
from architectures.convolutions import CONVOLUTIONS
from architectures.hugging_face import HUGGING_FACE
from architectures.perceptrons import PERCEPTRONS
from architectures.recurrent import RECURRENT
from architectures.residual import RESIDUAL

ARCHITECTURES = {**PERCEPTRONS, **CONVOLUTIONS, **RESIDUAL, **ATTENTION, **HUGGING_FACE, **RECURRENT}
