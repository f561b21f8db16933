"""What a checkpoint keeps of attached methods: plain containers, numbers and tensors, with a version.

Version 2 also keeps how many young units there are and until when (version 1 kept only until when), what was seen since
the last step, and the initialisers. The last are needed where a network gets its saved weights before methods are
attached again: such weights no longer show how they were drawn.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from neoteny.attachment.activations import TrainingActivations
from neoteny.attachment.bias_correction import AdamCorrection
from neoteny.attachment.clock import Clock
from neoteny.attachment.distributed import like, local
from neoteny.attachment.user_network import UserNetwork
from neoteny.errors import CheckpointError
from neoteny.methods.base import Method, Tensors
from neoteny.units.initialise import Initialiser
from neoteny.units.records import Network

VERSION = 2


class Saved(ABC):
    """The part of `Plasticity` that changes from step to step, and how a checkpoint keeps it.

    Attributes:
        units: the unit layers that methods act on.
        methods: by name.
        seed: what everything that is drawn follows from.
        updates: optimizer steps since attaching.
        tasks: calls of `new_task`.
    """

    units: Network
    methods: dict[str, Method]
    seed: int
    updates: int
    tasks: int
    _network: UserNetwork
    _state: dict[str, Tensors]  # of each method
    _clocks: dict[str, Clock | None]
    _adam: AdamCorrection
    _watch: TrainingActivations | None

    @property
    @abstractmethod
    def _since(self) -> Tensors:
        """Updates since each unit was made new, by layer."""

    def state_dict(self) -> dict[str, Any]:
        """All that a checkpoint needs beside the model's and the optimizer's: plain containers, numbers and tensors.

        Take it between optimizer steps. Names carry no trace of `torch.compile` or data parallelism.
        """
        return {
            "version": VERSION,
            "seed": self.seed,
            "updates": self.updates,
            "tasks": self.tasks,
            "layers": {plain(layer.name): layer.size for layer in self.units.layers},
            "since": {plain(name): value.clone() for name, value in self._since.items()},
            "young": {
                plain(name): [[until - self._adam.now, count] for until, count in made]
                for name, made in self._adam.young.items()
            },
            "initialisers": {plain(name): _kept(drawn) for name, drawn in self.units.initialisers.items()},
            "seen": {} if self._watch is None else {plain(n): seen for n, seen in self._watch.state_dict().items()},
            "methods": {
                name: {
                    "settings": method.settings(),
                    "state": {plain(key): self._whole(key, value) for key, value in self._state[name].items()},
                    "schedule": None if (clock := self._clocks[name]) is None else clock.state_dict(),
                }
                for name, method in self.methods.items()
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken, on the same network with the same methods; older versions' states do as well.

        Raises:
            CheckpointError: it belongs to other methods, settings or layers, or a later version; nothing was changed.
        """
        state = _migrated(state)
        self._check(state)
        self.seed, self.updates, self.tasks = state["seed"], state["updates"], state["tasks"]
        for name, old in self._since.items():
            old.copy_(state["since"][plain(name)])
            young = [(self._adam.now + int(left), int(count)) for left, count in state["young"][plain(name)]]
            self._adam.count_anew({name: young})
        drawn = {
            name: _restored(at, state["initialisers"].get(plain(name))) for name, at in self.units.initialisers.items()
        }
        saved = {name for name in drawn if plain(name) in state["initialisers"]}
        notes = {name: note for name, note in self.units.notes.items() if name not in saved}
        self.units = replace(self.units, initialisers=drawn, notes=notes)
        if self._watch is not None:
            seen = {layer.name: state["seen"].get(plain(layer.name)) for layer in self.units.layers}
            self._watch.load_state_dict({name: saved for name, saved in seen.items() if saved is not None})
        for name, values in self._state.items():
            saved = state["methods"][name]
            self._state[name] = {
                key: local(saved["state"][plain(key)]).to(old.device, copy=True) for key, old in values.items()
            }
            clock = self._clocks[name]
            if clock is not None:
                clock.load_state_dict(saved["schedule"])

    def _whole(self, key: str, value: Tensor) -> Tensor:
        """A copy; what belongs to a sharded parameter as a sharded tensor."""
        parameter = self._network.parameters.get(key.rpartition("/")[0])
        return value.clone() if parameter is None else like(value.clone(), parameter)

    def _check(self, state: Mapping[str, Any]) -> None:
        if list(state["methods"]) != list(self.methods):
            raise CheckpointError(
                f"The checkpoint is of the methods {list(state['methods'])}, attached are {list(self.methods)}; attach "
                "the methods it was saved with."
            )
        layers = {plain(layer.name): layer.size for layer in self.units.layers}
        if state["layers"] != layers:
            raise CheckpointError(
                f"The checkpoint is of the unit layers {state['layers']}, this network has {layers}; attach to the "
                "network it was saved with."
            )
        for name, method in self.methods.items():
            saved, now = state["methods"][name]["settings"], method.settings()
            saved = {**{one.name: one.default for one in fields(method) if one.name in now}, **saved}  # older versions
            other = sorted(key for key in {*saved, *now} if saved.get(key) != now.get(key))
            if other:
                was, is_now = ({key: settings.get(key) for key in other} for settings in (saved, now))
                raise CheckpointError(
                    f"The checkpoint's {name} has {was}, the attached one {is_now}; attach it with the settings it was "
                    "saved with."
                )


def _kept(drawn: Initialiser) -> list[Any]:
    """An initialiser in plain numbers, strings and tensors; of a function only that it is one."""
    more = [drawn.mean, drawn.zeros] if drawn.mean or drawn.zeros is not None or drawn.sparsity else []
    more += [None, drawn.sparsity, drawn.alike] if drawn.sparsity else []
    return [drawn.kind, drawn.scale, *more]


def _restored(at: Initialiser, saved: Sequence[Any] | None) -> Initialiser:
    """The saved initialiser; what the caller gives as a function now is what it was."""
    if saved is None or at.function is not None or saved[0] == "function":
        return at
    return Initialiser(*saved)


def plain(name: str) -> str:
    """A name without the traces of `torch.compile`."""
    return name.replace("._orig_mod", "").replace("_orig_mod.", "")


def _migrated(state: Mapping[str, Any]) -> Mapping[str, Any]:
    version = state.get("version")
    if version == 1:  # any unit of a layer may be young
        young = {name: [[left, state["layers"][name]]] if left > 0 else [] for name, left in state["young"].items()}
        return {**state, "version": VERSION, "young": young, "initialisers": {}, "seen": {}}
    if version != VERSION:
        raise CheckpointError(
            f"The checkpoint has version {version!r}, this neoteny reads versions 1 to {VERSION}; give the state_dict "
            "of a Plasticity, saved by this neoteny or an older one."
        )
    return state
