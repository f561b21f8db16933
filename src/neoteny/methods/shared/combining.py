"""Several methods on one network: preparing it for them, and refusing pairs that cannot act together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from neoteny import registry
from neoteny.errors import SettingError
from neoteny.methods.base import Method
from neoteny.methods.shared.order import in_order

if TYPE_CHECKING:
    from torch import nn

__all__ = ["as_methods", "prepare", "prepared", "refuse_impossible"]

_PREPARED = "_neoteny_prepared"


def as_methods(methods: Any, what: str) -> list[Method]:
    """One method or several, as a list; `what` was given them. A name stands for the method with its defaults.

    Raises:
        SettingError: something else is among them.
        UnknownNameError: there is no method of that name.
    """
    several = isinstance(methods, Iterable) and not isinstance(methods, (Method, str, type, Mapping))
    return [_as_method(method, what) for method in (methods if several else [methods])]


def _as_method(given: Any, what: str) -> Method:
    if isinstance(given, Method):
        return given
    if isinstance(given, str):
        return registry.method(given).load()()
    if isinstance(given, type) and issubclass(given, Method):
        raise SettingError(
            f"{what}: the class {given.__name__} is not a method; give an instance of it, {given.__name__}()."
        )
    said = repr(given) if given is None or isinstance(given, (int, float)) else f"a {type(given).__name__}"
    raise SettingError(
        f"{what}: {said} is not a method; give instances such as neoteny.ContinualBackprop(), or names such as 'cbp', "
        "alone or in a list."
    )


def refuse_impossible(methods: Sequence[Method]) -> None:
    """Refuse methods that cannot act on one network.

    Raises:
        SettingError: two of them exclude each other; the message says why.
    """
    for one, other in combinations(methods, 2):
        reason = one.excludes(other) or other.excludes(one)
        if reason:
            raise SettingError(f"{one.name} and {other.name} cannot act together: {reason}. Leave one of them out.")


def prepare(model: nn.Module, methods: Method | str | Iterable[Method | str], example_inputs: Any) -> nn.Module:
    """The network as the methods want it: with other activations, norms or dropout, say.

    Call it before an optimizer is made of the network's parameters; then attach the same methods. A network that none
    of the methods wants otherwise comes back as it is; the others are copies.

    Args:
        model: the network, without wrappers.
        methods: one method or several; a name, such as "crelu", stands for the method with its defaults.
        example_inputs: a batch as the network takes it: a tensor, a tuple of arguments or a dict of named ones.

    Raises:
        SettingError: two of the methods exclude each other.
        NetworkError: the network is not one that a method knows to change.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> neoteny.prepare(model, neoteny.WithSmoothLeaky(), torch.zeros(1, 3))[1]
    SmoothLeakyReLU(alpha=0.1, c=5.0, p=3.0)
    """
    chosen = as_methods(methods, "prepare")
    refuse_impossible(chosen)
    done = prepared(model)
    for number in in_order(chosen):
        method = chosen[number]
        if method.prepares and method.name not in done:
            done = (*done, method.name)
            model = method.prepare(model, example_inputs)
            setattr(model, _PREPARED, done)
    return model


def prepared(model: nn.Module) -> tuple[str, ...]:
    """Names of the methods that a network was prepared for."""
    return getattr(model, _PREPARED, ())
