"""Take recurrent modules and attention apart into their linear maps, in a copy that is made for tracing.

A gate of a recurrent layer, and each of query, key and value, is a linear map of its own, whose weight is a block of
rows of a fused parameter. The opened module only serves to find out what depends on what, and does not
compute what the original did: a recurrent layer takes every position of its input for a first and a second time step,
and attention has no masks.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from neoteny.units.maps import LinearMap

__all__ = ["View", "opened", "reads_input"]

_LABELS = ("query", "key", "value")
_STEPS = 2  # the first reads the state that came in, the second the layer's own


class View(NamedTuple):
    """Where the units of a part are seen: in the opened module's output, at `path`, last dimension, from `first` on."""

    module: str
    path: tuple[int, ...]
    first: int = 0


def opened(model: nn.Module) -> tuple[dict[str, LinearMap], dict[str, View]]:
    """Open, in place, every module of `model` that can be.

    Returns:
        The linear maps of their parts, by the parts' names, and where the whole module gives out the units of those.
    """
    parts: dict[str, LinearMap] = {}
    views: dict[str, View] = {}
    for name, module in list(model.named_modules()):
        kind = type(module)
        if isinstance(module, nn.MultiheadAttention) and kind.forward is nn.MultiheadAttention.forward:
            if module.bias_k is None and not module.add_zero_attn:
                _open_attention(name, module, parts)
        elif isinstance(module, nn.RNNBase) and kind.forward in (nn.RNN.forward, nn.GRU.forward, nn.LSTM.forward):
            _open_recurrent(name, module, parts, views)
        elif isinstance(module, nn.RNNCellBase) and kind in (nn.RNNCell, nn.GRUCell, nn.LSTMCell):
            _open_cell(name, module, parts, views)
    return parts, views


def reads_input(part: str) -> bool:
    """Whether a part reads what the opened module itself is given first."""
    return re.fullmatch(r"q_part|ih(_l0(_reverse)?)?_\d", part.rpartition(".")[2]) is not None


def _part(owner: nn.Module, name: str, own: str, whole: LinearMap, rows: int, parts: dict[str, LinearMap]) -> str:
    """Put a plain linear layer for some rows of a fused weight into its owner, as a submodule; its full name."""
    tensors = dict(owner.named_parameters())
    weight = tensors[whole.weight][whole.offset : whole.offset + rows].detach()
    part = nn.Linear(weight.shape[1], rows, bias=whole.bias is not None, device="meta")
    part.weight = nn.Parameter(weight)
    if whole.bias is not None:
        part.bias = nn.Parameter(tensors[whole.bias][whole.offset : whole.offset + rows].detach())
    setattr(owner, own, part)
    prefix = f"{name}." if name else ""
    bias = None if whole.bias is None else prefix + whole.bias
    trains = tensors[whole.weight].requires_grad
    label = ".".join(filter(None, (name, whole.label)))
    parts[prefix + own] = replace(whole, label=label, weight=prefix + whole.weight, bias=bias, trains=trains)
    return prefix + own


def _open_attention(name: str, module: nn.MultiheadAttention, parts: dict[str, LinearMap]) -> None:
    bias = None if module.in_proj_bias is None else "in_proj_bias"
    size = module.embed_dim
    for number, letter in enumerate("qkv"):
        if module._qkv_same_embed_dim:
            whole = LinearMap(_LABELS[number], "in_proj_weight", bias, 1, 0, offset=number * size, fused=3)
            _part(module, name, f"{letter}_part", whole, size, parts)
        else:
            whole = LinearMap(_LABELS[number], f"{letter}_proj_weight", None, 1, 0)
            _part(module, name, f"{letter}_part", whole, size, parts)
    module.__class__ = _OpenAttention


class _OpenAttention(nn.MultiheadAttention):
    def forward(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        q, k, v = self.q_part(query), self.k_part(key), self.v_part(value)  # pyright: ignore
        batched = query.dim() == 3
        if not self.batch_first and batched:
            q, k, v = (part.transpose(0, 1) for part in (q, k, v))
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3) for part in (q, k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(self.head_dim), -1)
        out = (weights @ v).transpose(-2, -3).flatten(-2)
        if not self.batch_first and batched:
            out = out.transpose(0, 1)
        wanted = args[1] if len(args) > 1 else kwargs.get("need_weights", True)
        averaged = kwargs.get("average_attn_weights", True)
        return self.out_proj(out), (weights.mean(-3) if averaged else weights) if wanted else None


def _open_recurrent(name: str, module: nn.RNNBase, parts: dict[str, LinearMap], views: dict[str, View]) -> None:
    directions = 2 if module.bidirectional else 1
    for layer in range(module.num_layers):
        for direction, suffix in enumerate(_suffixes(module, layer)):
            made = _open_gates(name, module, suffix, parts)
            if module.mode == "LSTM" and module.proj_size:
                whole = LinearMap(f"{suffix[1:]}.projection", f"weight_hr{suffix}", None, 1, 0)
                made = [_part(module, name, f"hr{suffix}", whole, module.proj_size, parts)]
            if layer == module.num_layers - 1:
                view = View(name, (0,), direction * (module.proj_size or module.hidden_size))
            else:
                state = (layer * directions + direction,)
                view = View(name, (1, 0, *state) if module.mode == "LSTM" else (1, *state))
            views.update(dict.fromkeys(made, view))
    swapped: Any = _OpenRecurrent
    module.__class__ = swapped


def _suffixes(module: nn.RNNBase, layer: int) -> list[str]:
    return [f"_l{layer}", f"_l{layer}_reverse"][: 2 if module.bidirectional else 1]


def _open_gates(name: str, module: Any, suffix: str, parts: dict[str, LinearMap]) -> list[str]:
    rows, made = module.hidden_size, []
    gates = getattr(module, f"weight_hh{suffix}").shape[0] // rows
    for side in ("ih", "hh"):
        bias = f"bias_{side}{suffix}" if module.bias else None
        for gate in range(gates):
            whole = LinearMap(suffix[1:], f"weight_{side}{suffix}", bias, 1, 0, offset=gate * rows, fused=gates)
            made.append(_part(module, name, f"{side}{suffix}_{gate}", whole, rows, parts))
    return made


def _gated(module: nn.Module, suffix: str, mode: str, x: Tensor, h: Tensor, c: Tensor | None) -> Any:
    """One time step: h, and c for an LSTM (Hochreiter & Schmidhuber 1997; Cho et al. 2014), gates in torch's order."""

    def both(gate: int) -> tuple[Tensor, Tensor]:
        return getattr(module, f"ih{suffix}_{gate}")(x), getattr(module, f"hh{suffix}_{gate}")(h)

    if mode == "LSTM":
        i, f, g, o = (sum(both(gate)) for gate in range(4))
        assert c is not None
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)  # pyright: ignore
        return torch.sigmoid(o) * torch.tanh(c), c  # pyright: ignore
    if mode == "GRU":
        r, z = (torch.sigmoid(sum(both(gate))) for gate in range(2))  # pyright: ignore
        new, old = both(2)
        return (1 - z) * torch.tanh(new + r * old) + z * h, None
    x, y = both(0)
    return (torch.relu if mode == "RNN_RELU" else torch.tanh)(x + y), None


class _OpenRecurrent(nn.RNNBase):
    def forward(self, input: Any, hx: Any = None) -> Any:
        packed, x = input, input.data if isinstance(input, PackedSequence) else input
        lstm = self.mode == "LSTM"
        first, cells = hx if lstm and hx is not None else (hx, None)
        hidden, states, memories = x, [], []
        for layer in range(self.num_layers):
            outs = []
            for number, suffix in enumerate(_suffixes(self, layer)):
                index = layer * (2 if self.bidirectional else 1) + number
                size = self.proj_size or self.hidden_size
                h = self._start(first, index, hidden, size, x, packed)
                c = self._start(cells, index, hidden, self.hidden_size, x, packed)
                for _ in range(_STEPS):
                    h, c = _gated(self, suffix, self.mode, hidden, h, c)
                    if lstm and self.proj_size:
                        h = getattr(self, f"hr{suffix}")(h)
                outs.append(h)
                states.append(h)
                memories.append(c)
            hidden = torch.cat(outs, -1)
        out = PackedSequence(hidden, *packed[1:]) if isinstance(packed, PackedSequence) else hidden
        last = torch.stack([self._last(state, packed) for state in states])
        return out, (last, torch.stack([self._last(c, packed) for c in memories])) if lstm else last

    def _start(self, given: Any, index: int, like: Tensor, size: int, x: Tensor, packed: Any) -> Tensor:
        if given is None or isinstance(packed, PackedSequence):
            return like.new_zeros(*like.shape[:-1], size)
        state = given[index]  # [batch, size], or [size] where there is no batch
        time = 0 if x.dim() == 2 or not self.batch_first else 1
        return state.unsqueeze(time).expand(*like.shape[:-1], size)

    def _last(self, state: Tensor, packed: Any) -> Tensor:
        if isinstance(packed, PackedSequence):
            return state[: int(packed.batch_sizes[0])]
        return state.select(1 if self.batch_first and state.dim() == 3 else 0, -1)


def _open_cell(name: str, module: Any, parts: dict[str, LinearMap], views: dict[str, View]) -> None:
    mode = {nn.GRUCell: "GRU", nn.LSTMCell: "LSTM"}.get(type(module)) or f"RNN_{module.nonlinearity.upper()}"
    view = View(name, (0,) if mode == "LSTM" else ())
    views.update(dict.fromkeys(_open_gates(name, module, "", parts), view))
    module.mode, module.__class__ = mode, _OpenCell


class _OpenCell(nn.RNNCellBase):
    def forward(self, input: Tensor, hx: Any = None) -> Any:
        mode: str = self.mode  # pyright: ignore
        zeros = input.new_zeros(*input.shape[:-1], self.hidden_size)
        h, c = (hx if hx is not None else (zeros, zeros)) if mode == "LSTM" else (zeros if hx is None else hx, None)
        h, c = _gated(self, "", mode, input, h, c)
        return (h, c) if mode == "LSTM" else h
