"""Agents that learn from pixels: DrQ, SPR and BBF as settings of one DQN.

Kostrikov, Yarats & Fergus, ICLR 2021 (DrQ); Agarwal et al., NeurIPS 2021 (DrQ(eps)); Schwarzer et al., ICLR 2021 (SPR);
Schwarzer, Obando-Ceron, Courville, Bellemare, Agarwal & Castro, "Bigger, better, faster: human-level Atari with
human-level efficiency", ICML 2023 (BBF).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from neoteny.errors import SettingError
from neoteny.lab.objective import Objective, Phase, Slow
from neoteny.optim import Adam, Optimizer
from neoteny.rl.augmenting import moved
from neoteny.rl.dqn import DQN, ERRORS, TARGET, Errors
from neoteny.rl.pixel_loss import PixelLearning
from neoteny.rl.pixel_settings import PixelSettings
from neoteny.rl.replay import ReplayBuffer

__all__ = ["PixelDQN"]

IMAGES = ("states", "next_states", "following")
"""What of a batch are images."""


class PixelDQN(DQN):
    """R independent agents that see stacks of frames; see `ReplayAgents` for the arguments.

    `PixelSettings` says which parts they are made of, `PixelSettings(**BBF)` that they are BBF's. Their network is a
    `neoteny.nn.PixelNetwork`. The optimizer is Adam by default, with a step size of 1e-4 and eps of 1.5e-4.

    After a change of task at which a method draws weights anew, n and the discount begin anew as well, where they are
    annealed. With `tau` = 1 and `target_every` = 1 the target network is the network itself, as in DrQ(eps) and SPR,
    and no copy is kept.

    Raises:
        SettingError: observations that are no images of bytes, [frames, height, width]; and as for `ReplayAgents`.

    >>> import gymnasium
    >>> from neoteny.rl import OneByOne, PixelDQN, PixelSettings
    >>> class Blank(gymnasium.Env):
    ...     observation_space = gymnasium.spaces.Box(0, 255, (2, 36, 36), np.uint8)
    ...     action_space = gymnasium.spaces.Discrete(3)
    ...     def reset(self, *, seed=None, options=None):
    ...         return np.zeros((2, 36, 36), np.uint8), {}
    ...     def step(self, action):
    ...         return np.zeros((2, 36, 36), np.uint8), 1.0, False, False, {}
    >>> small = {"learning_starts": 8, "segment": 10, "batch_size": 4, "capacity": 64}
    >>> settings = PixelSettings(width=0.125, hidden=(8,), atoms=11, jumps=2, priority=0.5, **small)
    >>> agents = PixelDQN(OneByOne(Blank, 1), settings=settings, total=100, compile=False)
    >>> sorted(agents.iterate().losses)
    ['loss', 'prediction_loss', 'td_error', 'value']

    Source: Agarwal et al. 2021; Schwarzer et al. 2021; Schwarzer et al. 2023, Section 3 and Table A.1, and the authors'
    public `bigger_better_faster`.
    """

    RAW: ClassVar[bool] = True
    CHUNK: ClassVar[int] = 1
    settings: Any

    def __init__(
        self, environments: Any, *, settings: PixelSettings, optimizer: Optimizer | None = None, **options: Any
    ):
        space = environments.single_observation_space
        shape: Any = getattr(space, "shape", None) or ()
        if getattr(space, "dtype", None) != "uint8" or len(shape) != 3:
            raise SettingError(
                f"PixelDQN sees images of bytes, a Box of shape (frames, height, width) and dtype uint8; this "
                f"environment's observations are {space}: wrap it, or take DQN."
            )
        self._shape: tuple[int, int, int] = shape
        optimizer = optimizer or Adam(step_size=1e-4, eps=1.5e-4)
        super().__init__(environments, settings=settings, optimizer=optimizer, **options)
        self._anew = any(method.needs_tasks and method.starts_anew for method in self.learner.methods)
        self._reset = 0  # updates before the last reset

    def _networks(self) -> nn.Module:
        return self.settings.network(self._shape, self._actions)

    def _example(self) -> Tensor:
        frames, height, width = self._shape
        return torch.zeros(self.settings.batch_size, height, width, frames, dtype=torch.uint8)

    def _objective(self, optimizer: Optimizer) -> Objective:
        s = self.settings
        target = None if s.tau == 1 and s.target_every == 1 else TARGET
        learning = PixelLearning(settings=s, target=target)
        signals = (ERRORS,) if s.priority else ()
        return Objective(
            phases=(Phase(evaluate=learning, optimizer=optimizer, metrics=learning.metrics, signals=signals),),
            slow={target: Slow(rate=s.tau, every=s.target_every if s.tau == 1 else 1)} if target else {},
            inputs="states",
            interaction=Errors(s.batch_size, self._dtype) if s.priority else None,
            evaluated=target if s.acts == "target" else None,
        )

    def _taken(self, buffer: ReplayBuffer, places: Any, generators: Sequence[np.random.Generator]) -> dict[str, Tensor]:
        s, updates = self.settings, self._phase - self._reset
        batch = buffer.take(places, s.discount(updates), s.steps_ahead(updates))
        if s.jumps:
            batch |= buffer.sequences(places, s.jumps)
        for name in IMAGES:
            if name in batch:
                batch[name] = self._shifted(batch[name], generators)
        return self._converted(batch)

    def _shifted(self, rows: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
        """Observations [R, ..., pixels] as images [R, ..., height, width, channels], each moved by its own draw."""
        s, shape, each = self.settings, rows.shape[:-1], rows[0, ..., 0].numel()
        if s.augment and s.shift:
            drawn = [rng.integers(-s.shift, s.shift, (each, 2), endpoint=True) for rng in generators]
            offsets = torch.from_numpy(np.concatenate(drawn)).to(rows.device)
        else:
            offsets = torch.zeros(shape.numel(), 2, dtype=torch.int64, device=rows.device)
        return moved(rows.reshape(-1, *self._shape), offsets).unflatten(0, shape)

    def new_task(self) -> None:
        """Let methods act; where they draw weights anew, n and the discount begin anew."""
        super().new_task()
        if self._anew:
            self._reset = self._phase

    @classmethod
    def acting_tensors(cls, settings: Any, carry: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """The target network's where that acts."""
        own = carry["tensors"]
        return {**own, **carry["slow"][TARGET]} if settings.acts == "target" and "slow" in carry else own

    def state_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """Everything that the next iterations depend on; see `ReplayAgents`."""
        return {**super().state_dict(folder), "reset": self._reset}

    def load_state_dict(self, state: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on from `state_dict(folder)`."""
        super().load_state_dict(state, folder)
        self._reset = int(state["reset"])
