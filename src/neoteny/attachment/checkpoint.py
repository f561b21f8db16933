"""What a checkpoint keeps of attached methods: plain containers, numbers and tensors, with a version.

Version 2 says of young units how many there are and until when, version 1 said only until when; and it keeps what was
seen since the last step, and the initialisers: a network that gets its weights before methods are attached again does
not show them any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from neoteny.attachment.distributed import like, local
from neoteny.errors import CheckpointError
from neoteny.units.initialise import Initialiser

if TYPE_CHECKING:
    from neoteny.attachment.plasticity import Plasticity

VERSION = 2


def save(plasticity: Plasticity) -> dict[str, Any]:
    """The state of attached methods."""
    own = plasticity
    return {
        "version": VERSION,
        "seed": own.seed,
        "updates": own.updates,
        "tasks": own.tasks,
        "layers": {plain(layer.name): layer.size for layer in own.units.layers},
        "since": {plain(name): value.clone() for name, value in own._since.items()},
        "young": {
            plain(name): [[until - own._adam.now, count] for until, count in made]
            for name, made in own._adam.young.items()
        },
        "initialisers": {plain(name): [drawn.kind, drawn.scale] for name, drawn in own.units.initialisers.items()},
        "seen": {} if own._watch is None else {plain(n): seen for n, seen in own._watch.state_dict().items()},
        "methods": {
            name: {
                "settings": method.settings(),
                "state": {plain(key): _whole(own, key, value) for key, value in own._state[name].items()},
                "schedule": None if (clock := own._clocks[name]) is None else clock.state_dict(),
            }
            for name, method in own.methods.items()
        },
    }


def load(plasticity: Plasticity, state: Mapping[str, Any]) -> None:
    """Put a saved state back.

    Raises:
        CheckpointError: it belongs to other methods, settings or layers, or a later version; nothing was changed.
    """
    own, state = plasticity, _migrated(state)
    _check(own, state)
    own.seed, own.updates, own.tasks = state["seed"], state["updates"], state["tasks"]
    for name, old in own._since.items():
        own._since[name] = state["since"][plain(name)].to(old.device, copy=True)
        young = [(own._adam.now + int(left), int(count)) for left, count in state["young"][plain(name)]]
        own._adam.young[name] = deque(young)
    drawn = {
        name: state["initialisers"].get(plain(name), [at.kind, at.scale]) for name, at in own.units.initialisers.items()
    }
    own.units = replace(own.units, initialisers={name: Initialiser(*saved) for name, saved in drawn.items()})
    if own._watch is not None:
        seen = {layer.name: state["seen"].get(plain(layer.name)) for layer in own.units.layers}
        own._watch.load_state_dict({name: saved for name, saved in seen.items() if saved is not None})
    for name, values in own._state.items():
        saved = state["methods"][name]
        own._state[name] = {
            key: local(saved["state"][plain(key)]).to(old.device, copy=True) for key, old in values.items()
        }
        clock = own._clocks[name]
        if clock is not None:
            clock.load_state_dict(saved["schedule"])


def plain(name: str) -> str:
    """A name without the traces of `torch.compile`."""
    return name.replace("._orig_mod", "").replace("_orig_mod.", "")


def _whole(plasticity: Plasticity, key: str, value: Tensor) -> Tensor:
    """A copy; what belongs to a sharded parameter as a sharded tensor."""
    parameter = plasticity._live.parameters.get(key.rpartition("/")[0])
    return value.clone() if parameter is None else like(value.clone(), parameter)


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


def _check(own: Plasticity, state: Mapping[str, Any]) -> None:
    if list(state["methods"]) != list(own.methods):
        raise CheckpointError(
            f"The checkpoint is of the methods {list(state['methods'])}, attached are {list(own.methods)}; attach "
            "the methods it was saved with."
        )
    layers = {plain(layer.name): layer.size for layer in own.units.layers}
    if state["layers"] != layers:
        raise CheckpointError(
            f"The checkpoint is of the unit layers {state['layers']}, this network has {layers}; attach to the "
            "network it was saved with."
        )
    for name, method in own.methods.items():
        saved, now = state["methods"][name]["settings"], method.settings()
        other = sorted(key for key in {*saved, *now} if saved.get(key) != now.get(key))
        if other:
            was, is_now = ({key: settings.get(key) for key in other} for settings in (saved, now))
            raise CheckpointError(
                f"The checkpoint's {name} has {was}, the attached one {is_now}; attach it with the settings it was "
                "saved with."
            )
