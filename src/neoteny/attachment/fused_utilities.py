"""Continual backpropagation's averages of all layers in one call of a kernel, for the utility that is its default."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, ClassVar

import torch
from torch import Tensor

from neoteny.attachment.activations import SummedActivations
from neoteny.attachment.kernels import fields, kernels, positions, serves, worthwhile
from neoteny.attachment.user_network import UserNetwork
from neoteny.methods.base import Method, Tensors
from neoteny.methods.continual_backprop import ContinualBackprop

_shape, _contiguous = attrgetter("shape"), Tensor.is_contiguous


class _Reading(ctypes.Structure):
    _fields_ = fields("weight before length after block positions")


class _Judged(ctypes.Structure):
    _fields_ = fields("age share utility entries magnitudes units readings")


class FusedUtilities:
    """Steps 1 and 2 of `ContinualBackprop`, in place: ages and utilities of all units that are being trained.

    Args:
        method: the method; see `of`.
        user: the network and its optimizers.
    """

    whole: ClassVar[bool] = False
    """Whether nothing is left of a step that was judged: here, units that are due."""

    def __init__(self, method: ContinualBackprop, user: UserNetwork):
        self._method, self._user = method, user
        self._plan: _Plan | None = None

    @classmethod
    def of(cls, method: Method, user: UserNetwork) -> FusedUtilities | None:
        """For a method whose rule is the kernel's; None for others."""
        if not isinstance(method, ContinualBackprop) or type(method) is not ContinualBackprop:  # one may be derived
            return None
        plain = method.utility == "contribution" and not (method.compensate or method.authors_code)
        return cls(method, user) if plain else None

    def judge(self, state: Tensors, features: Mapping[str, Any], due: Sequence[int] | None) -> bool:
        """Bring `state` up to date after an optimizer's step, writing into its tensors; whether that was done."""
        user = self._user
        if user.parts or user.processes.several or (compiled := kernels()) is None:
            return False
        plan = self._plan
        if plan is None or plan.parameters is not user.parameters or plan.resting is not user.resting:
            plan = self._plan = _Plan(user)
        if not plan.tell(state) or not plan.tell_seen(features):
            return False
        eta = self._method.decay_rate
        compiled.neoteny_judge(plan.count, *plan.addresses, eta, 1 - eta)
        return True


class _Plan:
    """What stays the same from step to step: which weights read the units of which layers, and where."""

    def __init__(self, user: UserNetwork):
        self.parameters, self.resting = user.parameters, user.resting
        found = [layer for layer in user.network.layers if layer.name not in user.resting]
        parts = [slices for layer in found for slices in layer.outgoing]
        self._readings = (_Reading * len(parts))()
        self._layers = (_Judged * len(found))()
        self.count, self._names = len(found), [layer.name for layer in found]
        self._keys = [f"{layer.name}/{key}" for layer in found for key in ("age", "share", "utility")]
        self.addresses = ctypes.addressof(self._layers), ctypes.addressof(self._readings)
        self._simple = all(slices.groups == 1 and slices.name in user.parameters for slices in parts)
        self._weights = [user.parameters[slices.name] for slices in parts] if self._simple else []
        self._shapes = [weight.shape for weight in self._weights]
        self._state: Tensors | None = None  # as it was looked at last
        self._features: Mapping[str, Any] | None = None  # likewise
        self._places: list[int] = []
        self._positions = [positions(slices) for slices in parts]
        for judged, layer in zip(self._layers, found, strict=True):
            judged.units, judged.readings = layer.size, len(layer.outgoing)
        for slices, places, shape, reading in zip(
            parts if self._simple else (), self._positions, self._shapes, self._readings, strict=self._simple
        ):
            before, after = shape[: slices.dim], shape[slices.dim + 1 :]
            reading.before, reading.length, reading.after = math.prod(before), shape[slices.dim], math.prod(after)
            reading.block, reading.positions = slices.block, 0 if places is None else places.data_ptr()
        self._simple = self._simple and worthwhile(sum(weight.numel() for weight in self._weights))
        self._simple = self._simple and all(weight.dtype is torch.float32 for weight in self._weights)

    def tell(self, state: Tensors) -> bool:
        """Tell the kernel where the weights and the tensors of the state lie; False where it does not take them."""
        weights = self._weights
        if not (self._simple and list(map(_shape, weights)) == self._shapes and all(map(_contiguous, weights))):
            return False
        if state is not self._state:  # its tensors are written to, but none is exchanged
            kept = [state[key] for key in self._keys]
            kinds = [torch.int32, torch.float32, torch.float32] * len(self._layers)
            if not kept or not all(map(serves, kept, kinds)) or not all(map(serves, weights)):
                return False
            self._state, of = state, map(Tensor.data_ptr, kept)
            for judged in self._layers:
                judged.age, judged.share, judged.utility = next(of), next(of), next(of)
        places = list(map(Tensor.data_ptr, weights))
        if places != self._places:
            self._places = places
            for reading, place in zip(self._readings, places, strict=True):
                reading.weight = place
        return True

    def tell_seen(self, features: Mapping[str, Any]) -> bool:
        """Tell the kernel where the sums lie; False where it does not take them."""
        if features is self._features:  # as a rule they are written where they were at the last step
            return True
        for judged, name in zip(self._layers, self._names, strict=True):
            seen = features.get(name)
            if seen is None:
                judged.entries = judged.magnitudes = 0
            elif isinstance(seen, SummedActivations) and serves(seen.sums):
                judged.entries = entries = seen.sums.data_ptr()
                judged.magnitudes = entries + 4 * seen.place("mean_abs")
            else:
                self._features = None
                return False
        self._features = features
        return True
