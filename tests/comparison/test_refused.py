"""What cannot be compared is refused in words."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import neoteny
from comparison.streams import classes, mlp, regression, sgd
from neoteny.errors import DataError, NetworkError, SettingError, UnknownNameError

BATCHES = regression(8)
ONE = mlp()


def seeded():
    torch.manual_seed(0)
    return mlp()


def shuffled():
    BATCHES.append(BATCHES.pop(0))
    return iter(BATCHES[:])


USED = iter(BATCHES)


@pytest.mark.parametrize(
    ("changed", "error", "said"),
    [
        ({"stream": []}, DataError, "no batch"),
        ({"stream": BATCHES[:5]}, DataError, "5 batches"),
        ({"stream": iter(BATCHES)}, SettingError, "can be gone through only once"),
        ({"stream": lambda: USED}, DataError, "other batches when it is read again"),
        ({"stream": shuffled}, DataError, "shuffled"),
        ({"stream": torch.zeros(10, 2)}, SettingError, "no stream of batches"),
        ({"stream": None}, SettingError, "no stream of batches"),
        ({"stream": lambda: 3}, SettingError, "stream() returned 3"),
        ({"stream": [torch.zeros(4, 4)] * 9}, DataError, "batch 0 of the stream is a Tensor"),
        ({"stream": [(torch.zeros(4, 4), 1)] * 9}, DataError, "targets are no tensor"),
        ({"build": mlp()}, SettingError, "a network; give a function"),
        ({"build": lambda: ONE}, SettingError, "the same network twice"),
        ({"build": seeded}, SettingError, "the same weights for two seeds"),
        ({"build": lambda: 3}, NetworkError, "returned 3"),
        ({"build": lambda: nn.Linear(7, 1)}, NetworkError, "give inputs as it takes them"),
        ({"optimizer": sgd(ONE.parameters())}, SettingError, "needs one of its own"),
        ({"optimizer": lambda parameters: sgd(ONE.parameters())}, SettingError, "trains other parameters"),
        ({"optimizer": lambda parameters, lr: sgd(parameters)}, SettingError, "missing 1 required"),
        ({"optimizer": lambda parameters: 1}, SettingError, "not an optimizer"),
        ({"optimizer": torch.optim.LBFGS}, SettingError, "needs a closure, which compare does not give; take one"),
        ({"methods": "cpb"}, UnknownNameError, "'cbp'"),
        ({"methods": []}, SettingError, "methods is empty"),
        ({"methods": ["head-reset"]}, SettingError, "acts where the task changes"),
        ({"tasks": 4}, SettingError, "no list of whole numbers"),
        ({"tasks": [4, 8]}, SettingError, "tasks has 8, but 8 batches are used"),
        ({"methods": neoteny.L2}, SettingError, "give an instance"),
        ({"build": lambda: nn.Linear(4, 1), "methods": "cbp"}, NetworkError, "cbp: "),
        ({"stream": classes(8)}, SettingError, "does not fit to outputs (16, 1)"),
        ({"build": lambda: mlp(2)}, SettingError, "outputs have the shape (16, 2)"),
        ({"loss": lambda outputs, targets: (outputs - targets).abs()}, SettingError, "not one number"),
        ({"seeds": 0}, SettingError, "seeds = 0"),
        ({"points": 17}, SettingError, "points = 17"),
        ({"tuning_share": 1.0}, SettingError, "tuning_share"),
        ({"last": 0}, SettingError, "last = 0"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_words(changed, error, said):
    given = {"build": mlp, "optimizer": sgd, "stream": BATCHES, "methods": "l2"} | changed
    with pytest.raises(error) as raised:
        neoteny.compare(**given)
    assert said in str(raised.value)


def test_a_stream_that_ends_early_later_is_told():
    left = [9, 9, 9, 9]

    def stream():
        count = left.pop() if left else 8
        return iter(regression(count))

    with pytest.raises(DataError, match="had 9 batches, and 8 when read again"):
        neoteny.compare(mlp, sgd, stream, "l2", seeds=1, points=1)
