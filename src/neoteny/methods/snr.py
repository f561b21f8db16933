"""SNR, self-normalised resets: reset a unit that has not fired for longer than is usual for it.

Farias & Jozefiak, "Self-normalized resets for plasticity in continual learning", ICLR 2025, arXiv 2410.20098
(Algorithm 1); how distributions are estimated follows the authors' code, ajozefiak/SelfNormalizedResets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from neoteny.checks import require, require_count, require_fraction
from neoteny.methods.base import Contract, Step, Tensors
from neoteny.methods.shared.unit_reset import UnitReset

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from neoteny.units.records import Network

_FINENESS = 8
"""Lengths of silences that are told apart in each doubling."""


@dataclass(frozen=True, kw_only=True)
class SelfNormalisedResets(UnitReset):
    """Reset every unit that has been silent for an improbably long time, compared with its own earlier silences.

    A unit fires where its activation is above 0, also where the activation function has negative values. A silence of a
    unit is a run of examples on which it does not fire. Its age a counts the examples since it last
    fired. At every update, on B examples:

        it fired on none of them:  a ← a + B
        otherwise:                 a is logged if it is not 0, and a ← 0

    With A the length of a logged silence, the unit is reset where P(A ≥ a) ≤ η. That is where a > τ, the least length
    with P(A ≤ τ) ≥ 1 - η. Its incoming weights come from the initialiser, its bias and outgoing weights become 0, and
    the optimizer's state of these entries starts anew; a is logged and becomes 0.

    Every `period` updates τ is taken from the log, and the log is emptied. A reset cuts a silence off, so the log
    cannot show silences much longer than the present τ. Where the log gives more than the present τ, τ is doubled
    instead. Then τ is clipped to the range from B to `longest`. A unit without any silence gets τ = B.

    The log holds for each unit how many silences were at most 1, 2, 3, ... examples long, up to `longest`, in steps of
    an eighth of each power of two. (These are 98 numbers up to 20,000; the authors' histogram has 20,001.) So τ is at
    most an eighth too high.

    Args:
        rejection: η in [0, 1], 0.02 to 0.1 in the paper (the code's percentile is 1 - η).
        period: updates between two estimates of τ. The authors make one every so many tasks.
        threshold: τ at first, in examples.
        longest: the greatest τ, in examples.
        every: updates between two checks of the ages; 1 in the paper. On a GPU, and in the laboratory, each check draws
            weights for all units, which costs several times a small network's step; with 16 the resets come hardly
            later.
        at_threshold: also reset where a = τ, and double τ where the log gives exactly τ, as the authors' code does.
        least_share: a unit counts as firing on a batch if more than this share of its entries (examples and positions)
            is above 0; 0 in the paper.

    Raises:
        SettingError: a setting outside its range.

    >>> SelfNormalisedResets(rejection=0.05).longest
    20000
    """

    name: ClassVar[str] = "snr"
    varies: ClassVar[tuple[str, ...]] = ("rejection", "least_share")
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"rejection": (0.02, 0.05, 0.1)}
    memory: ClassVar[tuple[float, float]] = (0.0, 4.0)
    avoid: ClassVar[str] = (
        "With activation functions that are always above 0 (sigmoid, softplus): every unit always fires, and nothing "
        "is reset. On streams whose inputs come back after pauses much longer than a period."
    )

    rejection: float = 0.05
    period: int = 10_000
    threshold: int = 10_000
    longest: int = 20_000
    every: int = 1
    at_threshold: bool = False
    least_share: float = 0.0

    def __post_init__(self) -> None:
        """Check the settings."""
        require_fraction(self, "rejection", "least_share")
        require_count(self, "period", "threshold", "longest", "every", least=1)
        require(self, "longest", self.longest < 2**24, "below 2**24")
        require(self, "threshold", self.threshold <= self.longest, f"at most longest = {self.longest}")

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        silent = {"least_share": 1.0, "period": 4}
        return [cls(threshold=9, **silent), cls(threshold=6, every=2, at_threshold=True, **silent)], [
            cls(period=10**6, every=10**6)
        ]

    @property
    def observes(self) -> frozenset[str]:
        """Whether units fired, and on how many examples."""
        return frozenset({"fired", "examples"})

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """For each layer, int32, `age` and `threshold` `[n]`, `log` `[n, lengths]` and `replaced` `[]`."""
        import torch

        state = super().init(network, tensors)
        for layer in network.layers:
            device = state[f"{layer.name}/replaced"].device
            state[f"{layer.name}/age"] = torch.zeros(layer.size, dtype=torch.int32, device=device)
            state[f"{layer.name}/threshold"] = torch.full_like(state[f"{layer.name}/age"], self.threshold)
            lengths = len(lengths_of(self.longest))
            state[f"{layer.name}/log"] = torch.zeros(layer.size, lengths, dtype=torch.int32, device=device)
        return state

    def schedule(self, network: Network, seed: int) -> _Clock:
        """Two columns: whether ages are checked, and whether thresholds are estimated."""
        return _Clock(self.every, self.period)

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Update all ages; where it is due, reset units that are too old, and estimate the thresholds anew."""
        import torch

        state, chosen = dict(state), {}
        known = step.due  # what is not due costs nothing where the host knows it
        for _, layer in step.layers():
            h = step.features.get(layer.name)
            if h is None:
                continue  # the optimizer stepped without a forward pass
            age, threshold, log = (f"{layer.name}/{name}" for name in ("age", "threshold", "log"))
            examples, fired = h.examples().to(torch.int32), h.fired() > self.least_share
            self._log(step, fired, state, age, log)
            state[age] = torch.where(fired, 0, state[age] + examples)
            if due is None:
                continue
            if known is None or known[0]:
                old = state[age] >= state[threshold] if self.at_threshold else state[age] > state[threshold]
                old = old if known else old & (due[0] > 0)
                self._log(step, old, state, age, log)
                state[age] = torch.where(old, 0, state[age])
                chosen[layer.name] = old
            if known is None or known[1]:
                estimate = self._estimate(state[threshold], state[log], examples.clamp(1, self.longest))
                state[threshold] = torch.where(due[1] > 0, estimate, state[threshold])
                state[log] = torch.where(due[1] > 0, 0, state[log])
        return self.make_new(step, state, chosen) if chosen else state

    def _log(self, step: Step, ended: Tensor, state: Tensors, age: str, log: str) -> None:
        """Log the silences that end, bool `[n]`; an age of 0 is no silence."""
        ended = ended & (state[age] > 0)
        if not step.surely_none(ended):
            within = state[age].clamp_max(self.longest).unsqueeze(1) <= _as_tensor(self.longest, state[age])
            state[log] = state[log] + (within & ended.unsqueeze(1))

    def _estimate(self, threshold: Tensor, log: Tensor, least: Tensor) -> Tensor:
        """τ from the log, `[n]`."""
        import torch

        lengths = _as_tensor(self.longest, log)
        needed = (1 - self.rejection) * log[:, -1:].to(torch.float32) - 1e-2  # so that rounding does not matter
        usual = torch.where(log >= needed, lengths, self.longest).amin(1)
        too_low = usual >= threshold if self.at_threshold else usual > threshold
        return torch.where(too_low, 2 * threshold, usual).maximum(least).clamp_max(self.longest)


class _Clock:
    """The two columns of `SelfNormalisedResets.schedule`, each with its period."""

    def __init__(self, every: int, period: int):
        from neoteny.methods.shared.schedule import Periodic

        self._columns = (Periodic(every), Periodic(period))

    def take(self, steps: int) -> np.ndarray:
        """What is due at each of the next steps, `[steps, 2]`."""
        import numpy as np

        return np.concatenate([column.take(steps) for column in self._columns], 1)

    def state_dict(self) -> dict[str, object]:
        """All that changes."""
        return {"columns": [column.state_dict() for column in self._columns]}

    def load_state_dict(self, state: Mapping[str, list[dict[str, object]]]) -> None:
        """Go on where `state` was taken."""
        for column, saved in zip(self._columns, state["columns"], strict=True):
            column.load_state_dict(saved)


def lengths_of(longest: int) -> list[int]:
    """The lengths of silences that are told apart, in examples.

    >>> lengths_of(30)
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 24, 26, 28, 30]
    """
    lengths = [1]
    while lengths[-1] < longest:
        octave = 2 ** (lengths[-1].bit_length() - 1)
        lengths.append(min(longest, lengths[-1] + max(1, octave // _FINENESS)))
    return lengths


def _as_tensor(longest: int, like: Tensor) -> Tensor:
    """`lengths_of` where another tensor is."""
    import torch

    return torch.tensor(lengths_of(longest), dtype=torch.int32, device=like.device)
