"""Self-normalised resets' silences of all layers in one call of a kernel, at steps at which nothing is reset."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from neoteny.attachment.activations import SummedActivations
from neoteny.attachment.kernels import fields, kernels, serves
from neoteny.attachment.user_network import UserNetwork
from neoteny.methods.base import Method, Tensors
from neoteny.methods.snr import SelfNormalisedResets, lengths_of


class _Silent(ctypes.Structure):
    _fields_ = fields("age threshold log seen units")


class FusedSilences:
    """A step of `SelfNormalisedResets`, in place, unless a unit has been silent for too long.

    Args:
        method: the method; see `of`.
        user: the network and its optimizers.
    """

    whole: ClassVar[bool] = True
    """Whether nothing is left of a step that was judged."""

    def __init__(self, method: SelfNormalisedResets, user: UserNetwork):
        self._method, self._user = method, user
        self._lengths = torch.tensor(lengths_of(method.longest), dtype=torch.int32)
        self._resting: frozenset[str] | None = None
        self._state: Tensors | None = None  # as it was looked at last
        self._features: Mapping[str, Any] | None = None  # likewise
        self._names: list[str] = []

    @classmethod
    def of(cls, method: Method, user: UserNetwork) -> FusedSilences | None:
        """For a method whose rule is the kernel's; None for others."""
        if (
            not isinstance(method, SelfNormalisedResets) or type(method) is not SelfNormalisedResets
        ):  # one may be derived
            return None
        return cls(method, user)

    def judge(self, state: Tensors, features: Mapping[str, Any], due: Sequence[int] | None) -> bool:
        """Bring `state` up to date after an optimizer's step, writing into its tensors; whether that was done."""
        user, method = self._user, self._method
        estimates = due is not None and due[1]
        if estimates or user.processes.several or (compiled := kernels()) is None:
            return False
        if not (self._tell(state) and self._tell_seen(features)):
            return False
        checks = due is not None and due[0]
        given = len(self._lengths), method.longest, method.at_threshold, bool(checks), method.least_share
        return not compiled.neoteny_listen(len(self._names), *self._addresses, *given)

    def _tell(self, state: Tensors) -> bool:
        """Tell the kernel where the tensors of the state lie; False where it does not take them."""
        if state is self._state and self._user.resting is self._resting:  # its tensors are written to, none exchanged
            return True
        found = [layer for layer in self._user.network.layers if layer.name not in self._user.resting]
        kept = [[state[f"{layer.name}/{key}"] for key in ("age", "threshold", "log")] for layer in found]
        if not found or not all(serves(tensor, torch.int32) for own in kept for tensor in own):
            return False
        self._state, self._resting = state, self._user.resting
        self._names, self._features = [layer.name for layer in found], None
        self._layers = (_Silent * len(found))()
        self._addresses = ctypes.addressof(self._layers), self._lengths.data_ptr()
        for layer, own, told in zip(found, kept, self._layers, strict=True):
            told.units = layer.size
            told.age, told.threshold, told.log = map(Tensor.data_ptr, own)
        return True

    def _tell_seen(self, features: Mapping[str, Any]) -> bool:
        """Tell the kernel where the sums lie; False where it does not take them."""
        if features is self._features:  # they were written where they were at the last step
            return True
        for layer, name in zip(self._layers, self._names, strict=True):
            seen = features.get(name)
            if seen is None:
                layer.seen = 0
            elif isinstance(seen, SummedActivations) and serves(seen.sums) and seen.place("fired") == 2:
                layer.seen = seen.sums.data_ptr()
            else:
                self._features = None
                return False
        self._features = features
        return True
