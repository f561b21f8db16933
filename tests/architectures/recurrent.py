"""Recurrent networks: the modules of `torch.nn`, and cells written by hand with their loop."""

from __future__ import annotations

import torch
from torch import nn

from architectures.architecture import Architecture
from architectures.attention import sequences


class Recurrent(nn.Module):
    """A recurrent module of torch, read at every time step."""

    def __init__(self, kind, width, **options):
        super().__init__()
        self.rnn = kind(3, width, batch_first=True, **options)
        features = options.get("proj_size", width) * (2 if options.get("bidirectional") else 1)
        self.out = nn.Linear(features, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0])


class Cell(nn.Module):
    """h = tanh(W x + U h), by hand."""

    def __init__(self, width, length):
        super().__init__()
        self.input, self.hidden, self.out = nn.Linear(3, width), nn.Linear(width, width), nn.Linear(width, 2)

    def forward(self, x):
        h = x.new_zeros(len(x), self.hidden.in_features)
        for part in x.unbind(1):
            h = torch.tanh(self.input(part) + self.hidden(h))
        return self.out(h)


class LSTMCell(nn.Module):
    """A long short-term memory by hand: one linear layer makes all four gates."""

    def __init__(self, width, length):
        super().__init__()
        self.gates, self.out = nn.Linear(3 + width, 4 * width), nn.Linear(width, 2)

    def forward(self, x):
        h = c = x.new_zeros(len(x), self.out.in_features)
        for part in x.unbind(1):
            i, f, g, o = self.gates(torch.cat([part, h], -1)).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return self.out(h)


RECURRENT = {
    "RNN": Architecture(
        lambda width, length: Recurrent(nn.RNN, width), sequences, (5, 4), (128, 32), 16, {"rnn.l0": 5},
    ),
    "GRU, 2 layers, bidirectional": Architecture(
        lambda width, length: Recurrent(nn.GRU, width, num_layers=2, bidirectional=True), sequences, (5, 4), (128, 32),
        16, {f"rnn.{part}": 5 for part in ("l0", "l0_reverse", "l1", "l1_reverse")},
    ),
    "LSTM": Architecture(
        lambda width, length: Recurrent(nn.LSTM, width), sequences, (5, 4), (128, 32), 16, {"rnn.l0": 5},
    ),
    "LSTM, projected": Architecture(
        lambda width, length: Recurrent(nn.LSTM, width, proj_size=width // 2), sequences, (6, 4), (128, 32), 16,
        {"rnn.l0.projection": 3}, left_out={"rnn.l0": "inside"},
    ),
    "recurrent cell by hand": Architecture(
        Cell, sequences, (5, 4), (128, 16), 16, {"input+hidden": 5},
    ),
    "LSTM cell by hand": Architecture(
        LSTMCell, sequences, (5, 4), (128, 16), 16, {"gates": 5},
    ),
}  # fmt: skip
