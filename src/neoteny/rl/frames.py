"""A replay buffer of stacked frames, in which every frame is kept once.

An agent that sees the last four frames of a game would otherwise have each of them in eight observations: in the states
of four transitions, and in what these lead to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neoteny.errors import SettingError
from neoteny.rl.replay import GOES_ON, ReplayBuffer

__all__ = ["FrameBuffer"]


class FrameBuffer(ReplayBuffer):
    """A `ReplayBuffer` whose observations are the last n frames of an episode, the newest one last.

    Before there are n frames in an episode, its first one stands in for those that are missing. Kept are the newest
    frame of every state, and the last frame of every episode, which is in no state. Observations are put together when
    they are drawn.

    Args:
        runs: R.
        capacity: of each, a multiple of `environments`.
        observations: number of bytes in an observation, all its frames.
        actions: number of values in an action; None for the number of one of a few actions.
        stack: n.
        environments: E.
        shift: added to every reward.
        clip: C; rewards are clipped to [-C, C] before that.
        raw: whether observations are given as bytes, to networks that make numbers of them.
        device: where.

    Raises:
        SettingError: a capacity that is none, or for which there is not enough memory; observations that are not a
            multiple of `stack`.

    >>> buffer = FrameBuffer(1, 100, observations=4 * 84 * 84, actions=None, stack=4)
    >>> first = np.zeros((1, 1, 4 * 84 * 84), np.uint8)
    >>> then = np.concatenate([first[..., 84 * 84:], np.full((1, 1, 84 * 84), 255, np.uint8)], axis=-1)
    >>> buffer.add(first, [[0]], [[1.0]], then, [[False]], [[False]])
    >>> buffer.take(np.array([[0]]), gamma=0.99)["next_states"].mean()
    tensor(63.7500)
    """

    def __init__(
        self,
        runs: int,
        capacity: int,
        observations: int,
        actions: int | None,
        *,
        stack: int = 4,
        environments: int = 1,
        shift: float = 0.0,
        clip: float = math.inf,
        raw: bool = False,
        device: torch.device | str = "cpu",
    ):
        if stack < 1 or observations % stack:
            raise SettingError(
                f"stack = {stack}: the {observations} bytes of an observation are not so many frames; give the number "
                "of frames that the environment shows at once."
            )
        self.stack, self._frame = stack, observations // stack
        super().__init__(
            runs,
            capacity,
            observations,
            actions,
            environments=environments,
            storage="frames",
            shift=shift,
            clip=clip,
            raw=raw,
            device=device,
        )
        # the last frames of episodes, in order of time, and for each transition that ended one which of them is its own
        self._last = torch.empty((0, self._frame), dtype=torch.uint8, device=self.device)
        self._last_of: list[int] = []
        self._own_last = torch.zeros((runs, self._slots), dtype=torch.int32, device=self.device)
        # what the environments show now, which the next states must be
        self._now: np.ndarray | None = None
        self._begins = np.ones((runs, environments), dtype=bool)

    @property
    def _more(self) -> int:
        # the oldest states need the frames before their own, and the newest frame is in no state yet
        return self.stack * self.environments

    @property
    def _oldest(self) -> int:
        return max(self.added - self.capacity - (self.stack - 1) * self.environments, 0)

    def _kept_observations(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        return {"frames": (torch.uint8, (self._frame,))}

    @property
    def bytes(self) -> int:
        """Memory of the arrays when they are full; and of the last frames of the episodes so far."""
        return super().bytes + self._last.numel() + 4 * self._own_last.numel()

    # Writing

    def add(self, states: Any, actions: Any, rewards: Any, next_states: Any, terminated: Any, truncated: Any) -> None:
        """Write one transition of every environment, or of several steps; see `ReplayBuffer.add`.

        Raises:
            SettingError: a reward that is not finite, or observations that are not the last frames, as bytes.
        """
        states, next_states = self._as_kept(states), self._as_kept(next_states)
        ended = np.asarray(terminated, dtype=bool) | np.asarray(truncated, dtype=bool)
        begins = self._checked(states, next_states, ended)
        begun, count = self.added, states.shape[1]
        super().add(states, actions, rewards, next_states, terminated, truncated)
        own, frame = self.environments, self._frame
        self._keep_last(next_states[..., -frame:], ended, begun)
        newest = torch.from_numpy(next_states[:, count - own :, -frame:].copy()).to(self.device)
        slot = self.added % self._slots
        self._kept["frames"][:, slot : slot + own] = newest
        self._now, self._begins = next_states[:, -own:].copy(), begins

    def _observed(self, states: Any, next_states: Any) -> dict[str, np.ndarray]:
        return {"frames": states[..., -self._frame :]}

    def _checked(self, states: np.ndarray, next_states: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """Refuse what is not a stack of the last frames; gives which environments begin an episode next, [R, E]."""
        own, shape = self.environments, (self.runs, -1, self.environments)
        frame, begins, now = self._frame, self._begins, self._now
        before, after = (seen.reshape(*shape, self._observations) for seen in (states, next_states))
        for step, ends in enumerate(np.moveaxis(ended.reshape(shape), 1, 0)):
            seen, reached = before[:, step], after[:, step]
            expected = seen if now is None else now
            if begins.any():
                expected = np.where(begins[..., None], np.tile(seen[..., -frame:], self.stack), expected)
            for given, wanted in ((seen, expected), (reached[..., :-frame], seen[..., frame:])):
                if not np.array_equal(given, wanted):
                    run, place = np.argwhere((given != wanted).any(-1))[0]
                    raise SettingError(
                        f"environment {place} of agent {run} shows something else than its last {self.stack} frames "
                        f"after {self.added + step * own} steps (the newest last, at the beginning of an episode its "
                        "first frame as often): give storage = 'uint8', which keeps any bytes."
                    )
            now, begins = reached, ends
        return begins

    def _keep_last(self, frames: np.ndarray, ended: np.ndarray, begun: int) -> None:
        """Keep the last frames of the episodes that ended in transitions from number `begun` on."""
        places, runs = np.nonzero(ended.T)
        needed = begun + places >= self._oldest
        places, runs = places[needed], runs[needed]
        if not len(places):
            return
        count, used = len(places), len(self._last_of)
        if used + count > len(self._last):
            dead = sum(number < self._oldest for number in self._last_of)
            alive = self._last[dead:used]
            self._last = torch.empty((2 * (len(alive) + count), self._frame), dtype=torch.uint8, device=self.device)
            self._last[: len(alive)] = alive
            self._last_of, used = self._last_of[dead:], len(alive)
            self._own_last -= dead
        self._last[used : used + count] = torch.from_numpy(frames[runs, places]).to(self.device)
        slots = torch.from_numpy((begun + places) % self._slots).to(self.device)
        rows = torch.from_numpy(runs).to(self.device)
        self._own_last[rows, slots] = torch.arange(used, used + count, dtype=torch.int32, device=self.device)
        self._last_of += (begun + places).tolist()

    # Reading

    def _states(self, numbers: Tensor) -> Tensor:
        ages = self._ages(numbers, self.stack - 1)
        return self._given(self._frames(numbers, [ages.clamp(max=back) for back in range(self.stack - 1, -1, -1)]))

    def _next_states(self, numbers: Tensor) -> Tensor:
        return self._given(self._reached(numbers))

    def _given(self, seen: Tensor) -> Tensor:
        return seen if self._raw else seen.float()

    def _reached(self, numbers: Tensor) -> Tensor:
        ages = self._ages(numbers, max(self.stack - 2, 0))
        backs = [ages.clamp(max=back) for back in range(self.stack - 2, -1, -1)]
        found = self._frames(numbers, [*backs, torch.full_like(ages, -1)])
        if not self._last_of:
            return found
        slots = numbers % self._slots + (self._first if self.runs > 1 else 0)
        ended = self._at("ends", numbers) != GOES_ON
        own = torch.where(ended, self._own_last.flatten()[slots], 0)
        last = self._last.index_select(0, own.flatten()).view(*own.shape, -1)  # indexing is slower by far
        newest = found[..., -self._frame :]
        chosen = ended.unsqueeze(-1).to(torch.uint8)
        newest.copy_(last * chosen + newest * (1 - chosen))  # `where` is slow on bytes
        return found

    def _ages(self, numbers: Tensor, most: int) -> Tensor:
        """How many steps before these an episode began, at most so many."""
        earlier = numbers.unsqueeze(-1) - self.environments * torch.arange(1, most + 1, device=self.device)
        same = (earlier >= 0) & (self._at("ends", earlier) == GOES_ON)
        return same.cumprod(-1).sum(-1)

    def _frames(self, numbers: Tensor, backs: list[Tensor]) -> Tensor:
        """Frames so many steps before these, one behind the other."""
        places = numbers.unsqueeze(-1) - torch.stack(backs, dim=-1) * self.environments
        return self._at("frames", places).flatten(-2)

    # Saving

    def state_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """What `load_state_dict` takes; see `ReplayBuffer.state_dict`."""
        newest = None if self._now is None else self._now[..., -self._frame :].copy()
        return {**super().state_dict(folder), "newest": newest}

    def _rows(self, start: int, stop: int) -> dict[str, Tensor]:
        own = [place for place, number in enumerate(self._last_of) if start <= number < stop]
        last = self._last[own[0] : own[-1] + 1] if own else self._last[:0]
        return {**super()._rows(start, stop), "last_frames": last.clone()}

    def load_state_dict(self, state: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on from `state_dict(folder)`; see `ReplayBuffer.load_state_dict`."""
        self._last, self._last_of = self._last[:0], []
        super().load_state_dict(state, folder)
        if not self.added:
            return
        newest, slot = torch.from_numpy(np.asarray(state["newest"])).to(self.device), self.added % self._slots
        self._kept["frames"][:, slot : slot + self.environments] = newest
        numbers = torch.arange(self.added - self.environments, self.added, device=self.device)
        numbers = numbers.expand(self.runs, -1)
        self._now = self._reached(numbers).cpu().numpy()
        self._begins = (self._at("ends", numbers) != GOES_ON).cpu().numpy()

    def _restore(self, start: int, stop: int, rows: Mapping[str, Tensor]) -> None:
        super()._restore(start, stop, rows)
        # in the files are those of all transitions, in the order in which they are kept
        ended = (torch.as_tensor(rows["ends"]) != GOES_ON).numpy()
        frames = np.zeros((*ended.shape, self._frame), dtype=np.uint8)
        places, runs = np.nonzero(ended.T)
        frames[runs, places] = np.asarray(rows["last_frames"])
        self._keep_last(frames, ended, start)
