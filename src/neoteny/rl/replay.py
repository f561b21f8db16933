"""Replay buffers: what agents have met, kept in arrays, drawn from again and again.

A transition is written once, in place. Checkpoints append the new transitions to a folder as files, and never write old
ones again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from neoteny.errors import CheckpointError, DataError, SettingError
from neoteny.lab.recorder import atomically, checksum
from neoteny.rl.memory import require_memory

__all__ = ["ReplayBuffer", "Storage"]

Storage = Literal["float32", "uint8", "bits", "frames"]
"""How observations are kept: as they are, as bytes (pixels), packed as bits (those that are 0 or 1), or each frame of a
stack once (`neoteny.rl.FrameBuffer`)."""
GOES_ON, CUT, TERMINAL = 0, 1, 2
"""Values of `ends`: the episode goes on; time ran out, and the next state has a value; there is nothing after it."""


class ReplayBuffer:
    """The last `capacity` transitions of each of R agents, the oldest of which are overwritten.

    An agent's environments, E of them, write a transition each at a time. From k on, that of the same environment one
    step later is k + E. With n steps, a draw is

        (s_k, a_k, sum of gamma^i r_(k+i) for i < m, s_(k+m), gamma^m or 0)

    where m is n, or less: a draw ends with its episode, and at the newest transition. The last entry, by which the
    value of the last state counts, is 0 where that state was terminal; where time ran out it is not.

    Args:
        runs: R; 1 for a data set that several agents share.
        capacity: of each, a multiple of `environments`.
        observations: number of values in an observation.
        actions: number of values in an action; None for the number of one of a few actions.
        environments: E.
        storage: how observations are kept.
        shift: added to every reward.
        clip: C; rewards are clipped to [-C, C] before that.
        raw: whether bytes are given as bytes, to networks that make numbers of them.
        device: where.

    Attributes:
        added: transitions of each agent so far.

    Raises:
        SettingError: a capacity that is none, or for which there is not enough memory.

    >>> buffer = ReplayBuffer(1, 4, observations=2, actions=None)
    >>> for reward in (1.0, 2.0, 3.0):
    ...     buffer.add(np.zeros((1, 1, 2)), np.zeros((1, 1)), [[reward]], np.zeros((1, 1, 2)), [[False]], [[False]])
    >>> drawn = buffer.take(np.array([[0, 2]]), gamma=0.5, steps=2)
    >>> drawn["rewards"], drawn["discounts"]
    (tensor([[2., 3.]]), tensor([[0.2500, 0.5000]]))
    """

    def __init__(
        self,
        runs: int,
        capacity: int,
        observations: int,
        actions: int | None,
        *,
        environments: int = 1,
        storage: Storage = "float32",
        shift: float = 0.0,
        clip: float = math.inf,
        raw: bool = False,
        device: torch.device | str = "cpu",
    ):
        if capacity < 1 or capacity % environments:
            raise SettingError(
                f"capacity = {capacity}: a buffer keeps at least one transition, and as many of each of the "
                f"{environments} environments of an agent; give a multiple of {environments}."
            )
        self.runs, self.capacity, self.environments, self.storage = runs, capacity, environments, storage
        self.device, self.added, self._shift, self._clip = torch.device(device), 0, shift, clip
        self._observations, self._discrete, self._raw = observations, actions is None, raw
        self._slots = capacity + self._more
        kept = {
            **self._kept_observations(),
            "actions": (torch.int32, ()) if actions is None else (torch.float32, (actions,)),
            "rewards": (torch.float32, ()),
            "ends": (torch.uint8, ()),
        }
        each = sum(math.prod(shape) * dtype.itemsize for dtype, shape in kept.values())
        require_memory(runs * self._slots * each, self.device, f"A buffer of capacity = {capacity} for {runs} agent(s)")
        # empty: memory is taken as it is written to
        self._kept = {
            name: torch.empty((runs, self._slots, *shape), dtype=dtype, device=self.device)
            for name, (dtype, shape) in kept.items()
        }
        self._flat = {name: value.flatten(0, 1) for name, value in self._kept.items()}
        self._first = torch.arange(runs, device=self.device).unsqueeze(1) * self._slots
        self._parts: list[dict[str, Any]] = []
        self._files: set[str] = set()

    @property
    def _more(self) -> int:
        """Slots beside those of the transitions that can be drawn."""
        return 0

    @property
    def _oldest(self) -> int:
        """The number of the oldest transition of which something is needed; the first one ever is 0."""
        return max(self.added - self.capacity, 0)

    def _kept_observations(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """What is kept of the observations of a transition."""
        if self.storage == "frames":
            raise SettingError("storage = 'frames' is what a neoteny.rl.FrameBuffer does: make one of these.")
        width = -(-self._observations // 8) if self.storage == "bits" else self._observations
        seen = (torch.float32 if self.storage == "float32" else torch.uint8, (width,))
        return {"states": seen, "next_states": seen}

    @property
    def size(self) -> int:
        """Transitions of each agent that can be drawn."""
        return min(self.added, self.capacity)

    @property
    def bytes(self) -> int:
        """Memory of the arrays when they are full."""
        return sum(value.numel() * value.element_size() for value in self._kept.values())

    def add(self, states: Any, actions: Any, rewards: Any, next_states: Any, terminated: Any, truncated: Any) -> None:
        """Write one transition of every environment; arrays [R, E, ...].

        Several steps at once, [R, T E, ...], are written in order of time.

        Raises:
            SettingError: a reward that is not finite, or an observation that `storage` cannot keep.
        """
        rewards = np.asarray(rewards, dtype=np.float32)
        if not np.isfinite(rewards).all():
            run, place = np.argwhere(~np.isfinite(rewards))[0]
            raise SettingError(
                f"agent {run} was given the reward {rewards[run, place]}: correct the environment or the data, no "
                "agent can learn from it."
            )
        rewards = np.clip(rewards, -self._clip, self._clip) + np.float32(self._shift)
        ends = np.where(terminated, TERMINAL, np.where(truncated, CUT, GOES_ON)).astype(np.uint8)
        given = {
            **self._observed(states, next_states),
            "actions": np.asarray(actions, dtype=np.int32 if self._discrete else np.float32),
            "rewards": rewards,
            "ends": ends,
        }
        count = rewards.shape[1]
        begun = max(count - self._slots, 0)  # of more than it holds the last ones
        while begun < count:
            slot = (self.added + begun) % self._slots
            stop = min(count, begun + self._slots - slot)
            for name, value in given.items():
                rows = torch.from_numpy(np.ascontiguousarray(value[:, begun:stop]))
                self._kept[name][:, slot : slot + stop - begun] = rows.to(self.device)
            begun = stop
        self.added += count

    def _observed(self, states: Any, next_states: Any) -> dict[str, np.ndarray]:
        """What is kept of them."""
        return {"states": self._as_kept(states), "next_states": self._as_kept(next_states)}

    def _as_kept(self, observations: Any) -> np.ndarray:
        given = np.asarray(observations)
        if self.storage == "float32":
            return given.astype(np.float32, copy=False)
        kept = given.astype(np.uint8, copy=False)
        wrong = (kept != given) | (kept > 1) if self.storage == "bits" else kept != given
        if wrong.any():
            raise SettingError(
                f"storage = {self.storage!r}, and an observation has the value {given[wrong].flat[0]}: give storage = "
                "'float32'."
            )
        return np.packbits(kept, axis=-1) if self.storage == "bits" else kept

    def take(self, places: Any, gamma: float, steps: int = 1) -> dict[str, Tensor]:
        """What lies at these places, with n = `steps`.

        Args:
            places: int [R, ...], from 0 to `size` - 1; of a buffer of one run for any number of agents.
            gamma: the discount.
            steps: n.

        Returns:
            `states`, `actions`, `rewards`, `next_states` and `discounts`, [R, ..., of each].
        """
        places = torch.tensor(places, device=self.device)
        shape, numbers = places.shape, self._numbers(places.reshape(len(places), -1))
        rewards, last, factor = self._walked(numbers, gamma, steps)
        found = {
            "states": self._states(numbers),
            "actions": self._at("actions", numbers),
            "rewards": rewards,
            "next_states": self._next_states(last),
            "discounts": factor * (self._at("ends", last) != TERMINAL),
        }
        if self._discrete:
            found["actions"] = found["actions"].long()
        return {name: value.reshape(*shape, *value.shape[2:]) for name, value in found.items()}

    def sequences(self, places: Any, length: int) -> dict[str, Tensor]:
        """What came after these places, in the K = `length` next steps.

        Args:
            places: as for `take`.
            length: K.

        Returns:
            `following`, the states after 1 to K steps, [R, ..., K, of each]; `ahead`, the actions that led there, those
            at the places first, int64 or float32 [R, ..., K, of each]; and `goes_on`, float32 [R, ..., K]: 1 where the
            state is still of the same episode, 0 where the episode had ended or the buffer has nothing newer. What is
            given there is another transition's.

        >>> buffer = ReplayBuffer(1, 4, observations=1, actions=None)
        >>> for step in range(3):
        ...     buffer.add([[[step]]], [[step]], [[0.0]], [[[step + 1]]], [[step == 1]], [[False]])
        >>> drawn = buffer.sequences(np.array([[0]]), 3)
        >>> drawn["ahead"], drawn["goes_on"]
        (tensor([[[0, 1, 1]]]), tensor([[[1., 0., 0.]]]))
        """
        places = torch.tensor(places, device=self.device)
        shape, numbers = places.shape, self._numbers(places.reshape(len(places), -1))
        ahead, same = self._ahead(numbers, length)
        last = ahead[..., :1] + self.environments * (same.sum(-1, keepdim=True) - 1)
        ahead = torch.minimum(ahead, last)
        there, steps = ahead[..., 1:].flatten(1), ahead[..., :-1].flatten(1)
        found = {
            "following": self._states(there),
            "ahead": self._at("actions", steps),
            "goes_on": same[..., 1:].flatten(1).float(),
        }
        if self._discrete:
            found["ahead"] = found["ahead"].long()
        return {name: value.reshape(*shape, length, *value.shape[2:]) for name, value in found.items()}

    def _numbers(self, places: Tensor) -> Tensor:
        """The numbers of the transitions at these places, of which the first one ever is 0."""
        return self.added - 1 - (self.added - 1 - places) % self.capacity

    def _ahead(self, numbers: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """The numbers of those 0 to so many steps later in the same environment, [R, n, steps + 1], and whether each is
        there and of the same episode.
        """
        ahead = numbers.unsqueeze(-1) + self.environments * torch.arange(steps + 1, device=self.device)
        same = torch.ones_like(ahead, dtype=torch.bool)
        goes_on = self._at("ends", ahead[..., :-1]) == GOES_ON
        same[..., 1:] = (goes_on & (ahead[..., 1:] < self.added)).cumprod(-1).bool()
        return ahead, same

    def _walked(self, numbers: Tensor, gamma: float, steps: int) -> tuple[Tensor, Tensor, Any]:
        """The rewards of up to n steps, the number of the last of them, and gamma to the power of how many."""
        if steps == 1:
            return self._at("rewards", numbers), numbers, gamma
        ahead, same = self._ahead(numbers, steps - 1)
        powers = gamma ** torch.arange(steps + 1, dtype=torch.float64, device=self.device).float()
        rewards = torch.where(same, self._at("rewards", ahead), 0.0)  # what is not there may be anything
        count = same.sum(-1)
        return (rewards * powers[:-1]).sum(-1), numbers + self.environments * (count - 1), powers[count]

    def _at(self, name: str, numbers: Tensor) -> Tensor:
        """A field of transitions by their numbers [R, n, ...], [R, n, ..., of each]."""
        slots = (numbers % self._slots).flatten(1)
        if self.runs > 1:
            slots = slots + self._first
        own = self._flat[name].index_select(0, slots.flatten())
        return own.view(*numbers.shape, *own.shape[1:])

    def _states(self, numbers: Tensor) -> Tensor:
        """Their states, [R, n, observations]."""
        return self._seen("states", numbers)

    def _next_states(self, numbers: Tensor) -> Tensor:
        """What they led to, [R, n, observations]."""
        return self._seen("next_states", numbers)

    def _seen(self, name: str, numbers: Tensor) -> Tensor:
        """Observations as real numbers."""
        kept = self._at(name, numbers)
        if self.storage == "bits":
            shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=kept.device)
            kept = (kept.unsqueeze(-1) >> shifts & 1).flatten(-2)[..., : self._observations]
        return kept if self._raw and self.storage != "bits" else kept.float()

    # Saving

    def state_dict(self, folder: Path | None = None) -> dict[str, Any]:
        """What `load_state_dict` takes.

        Args:
            folder: where to append the transitions that came since the last time, as a file; without it they are part
                of the state.
        """
        if folder is None:
            rows = self._rows(self._oldest, self.added)
            return {"added": self.added, "rows": {name: value.clone() for name, value in rows.items()}}
        folder.mkdir(parents=True, exist_ok=True)
        self._tidy(folder)
        written = max(self._parts[-1]["stop"] if self._parts else 0, self._oldest)
        if written < self.added:
            path = folder / f"replay-{self.added:012d}.npz"
            rows: dict[str, Any] = {
                name: value.cpu().numpy() for name, value in self._rows(written, self.added).items()
            }

            def write(temporary: Path) -> None:
                with open(temporary, "wb") as file:
                    np.savez(file, **rows)

            atomically(path, write)
            self._parts.append({"name": path.name, "start": written, "stop": self.added, "sum": checksum(path)})
        self._parts = [part for part in self._parts if part["stop"] > self._oldest]
        return {"added": self.added, "parts": [dict(part) for part in self._parts]}

    def _tidy(self, folder: Path) -> None:
        """Remove files that the last checkpoint does not need: it is complete now, and what came before it is not
        needed any more.
        """
        needed = {part["name"] for part in self._parts}
        for path in folder.glob("*replay-*"):
            if path.name not in needed:
                path.unlink(missing_ok=True)

    def _rows(self, start: int, stop: int) -> dict[str, Tensor]:
        """Transitions by their number, of which the first one ever is 0."""
        slots = torch.arange(start, stop, device=self.device) % self._slots
        return {name: value.index_select(1, slots) for name, value in self._kept.items()}

    def load_state_dict(self, state: Mapping[str, Any], folder: Path | None = None) -> None:
        """Go on from `state_dict(folder)`.

        Raises:
            CheckpointError: a file is missing or was changed, or the state is of other agents.
        """
        self.added, self._parts = int(state["added"]), [dict(part) for part in state.get("parts", ())]
        if "rows" in state:
            self._restore(self._oldest, self.added, state["rows"])
        for part in self._parts:
            if folder is None:
                raise CheckpointError("the buffer's transitions lie in files beside the checkpoint: give their folder.")
            path = folder / part["name"]
            if not path.exists() or checksum(path) != part["sum"]:
                wrong = "was changed" if path.exists() else "is missing"
                raise CheckpointError(
                    f"{path} {wrong}, though the checkpoint needs it as it was written: restore the file, or delete "
                    "the run's folder and run it again."
                )
            with np.load(path, allow_pickle=False) as content:
                rows = {name: torch.from_numpy(content[name]) for name in content.files}
            self._restore(int(part["start"]), int(part["stop"]), rows)
        if folder is not None:
            self._tidy(folder)

    def _restore(self, start: int, stop: int, rows: Mapping[str, Tensor]) -> None:
        oldest = max(start, self._oldest)
        slots = torch.arange(oldest, stop, device=self.device) % self._slots
        for name, own in self._kept.items():
            value = torch.as_tensor(rows[name])
            if value.shape != (self.runs, stop - start, *own.shape[2:]):
                raise CheckpointError(
                    f"the checkpoint's transitions have {name} of shape {tuple(value.shape)}, this buffer has "
                    f"{(self.runs, stop - start, *own.shape[2:])}: resume with the settings that it was made with."
                )
            own[:, slots] = value[:, oldest - start :].to(self.device)

    def fill(self, transitions: Mapping[str, Any]) -> None:
        """Write a data set into every agent's part.

        Args:
            transitions: arrays [n, ...]: `observations`, `actions`, `rewards`, `next_observations`, `terminals`, and
                `timeouts` where episodes were cut, in order of time.

        Raises:
            DataError: an array is missing, empty, of another size or length, or not finite.
        """
        names = ("observations", "actions", "rewards", "next_observations", "terminals")
        missing = [name for name in names if name not in transitions]
        if missing:
            raise DataError(
                f"the data set has no {missing[0]!r} (it has: {', '.join(transitions) or 'nothing'}): give transitions "
                f"as arrays {', '.join(names)}."
            )
        own = {name: np.asarray(transitions[name]) for name in names}
        cut = np.array(transitions.get("timeouts", np.zeros(len(own["rewards"]), bool)))
        cut[-1:] = True  # what is written later does not follow
        own["timeouts"] = cut
        count, width = len(own["rewards"]), self._kept["actions"].shape[2:]
        shapes = {"observations": (count, self._observations), "next_observations": (count, self._observations)}
        shapes |= {"actions": (count, *width), "rewards": (count,), "terminals": (count,), "timeouts": (count,)}
        for name, shape in shapes.items():
            if count == 0 or own[name].shape != shape:
                raise DataError(
                    f"the data set's {name} have the shape {own[name].shape}, these agents need {shape} with at least "
                    "one row: it is of another environment, or empty."
                )
            if not np.isfinite(own[name]).all():
                raise DataError(f"the data set's {name} are not all finite: no agent can learn from it.")

        def rows(name: str) -> np.ndarray:
            return np.repeat(own[name][None], self.runs, axis=0)

        self.add(*(rows(name) for name in (*names, "timeouts")))
