"""Units that were found before: whether they are those of the network at hand, and their names in it."""

from __future__ import annotations

from typing import Any

from torch import nn

from neoteny.errors import SettingError
from neoteny.units.maps import unwrapped
from neoteny.units.records import Network
from neoteny.units.reset import slices_of

__all__ = ["fitted", "shapes_of"]


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """The shapes of parameters and buffers by name."""
    return {name: tuple(value.shape) for name, value in [*model.named_parameters(), *model.named_buffers()]}


def fitted(units: Any, model: nn.Module, what: str) -> Network:
    """Units as `find` or `declare` returned them, under the names of the network without its wrappers.

    Only the dimensions along which units lie must be as they were: a head may have more outputs.

    Args:
        units: those of the network, wrapped as it is now or not at all.
        model: the network.
        what: who asks, for the error.

    Raises:
        SettingError: it is no record of units, or that of another network.

    >>> import torch
    >>> from neoteny.units import find
    >>> small, large = (nn.Sequential(nn.Linear(3, n), nn.ReLU(), nn.Linear(n, 2)) for n in (4, 8))
    >>> units = find(small, torch.zeros(2, 3))
    >>> fitted(units, small, "attach") is units
    True
    >>> fitted(units, large, "attach")  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    neoteny.errors.SettingError: attach: units are those of another network: there 0.weight is [4, 3], here [8, 3]; ...
    """
    cure = "give what neoteny.units.find or neoteny.units.declare returned"
    if not isinstance(units, Network):
        raise SettingError(f"{what}: units is a {type(units).__name__}, not a neoteny.units.Network; {cure}.")
    inner, prefix = unwrapped(model)
    here, parts = shapes_of(inner), [slices for layer in units.layers for slices in slices_of(layer)]
    if any(slices.name not in here for slices in parts):  # found in the wrapped network
        units = units.renamed(lambda name: name.removeprefix(prefix), lambda name: name.removeprefix(prefix))
        parts = [slices for layer in units.layers for slices in slices_of(layer)]
    for slices in parts:
        now = here.get(slices.name)
        if now is None:
            raise SettingError(
                f"{what}: units are those of another network: {type(inner).__name__} has no {slices.name}; {cure} for "
                "this one."
            )
        then = units.shapes.get(slices.name, now)  # a record by hand does not say it
        along = slice(None) if slices.groups > 1 else slices.dim
        if len(now) != len(then) or now[along] != then[along]:
            raise SettingError(
                f"{what}: units are those of another network: there {slices.name} is {list(then)}, here {list(now)}; "
                f"{cure} for this one."
            )
    return units
