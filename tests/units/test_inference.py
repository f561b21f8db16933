"""How a network was drawn, told from its weights."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from neoteny.errors import SettingError
from neoteny.nn import MLP
from neoteny.units import Initialiser, find, random
from neoteny.units.inference import infer_initialisers

FAMILIES = {
    "torch's default": (lambda w: None, Initialiser.torch_default(300)),
    "kaiming uniform": (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), Initialiser.kaiming_uniform(300)),
    "kaiming normal": (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"),
                       Initialiser("normal", math.sqrt(2 / 300))),
    "tanh": (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="tanh"), Initialiser.kaiming_uniform(300, 5 / 3)),
    "xavier uniform": (nn.init.xavier_uniform_, Initialiser.xavier_uniform(300, 100)),
    "xavier normal": (nn.init.xavier_normal_, Initialiser("normal", math.sqrt(2 / 400))),
    "lecun normal": (lambda w: w.normal_(0, 300**-0.5), Initialiser("normal", 300**-0.5)),
    "lecun uniform": (lambda w: w.uniform_(-0.1, 0.1), Initialiser.lecun_uniform(300)),
    "orthogonal": (lambda w: nn.init.orthogonal_(w, math.sqrt(2)), Initialiser("normal", math.sqrt(2 / 300))),
    "transformers": (lambda w: w.normal_(0, 0.02), Initialiser("normal", 0.02)),
    "zero": (nn.init.zeros_, Initialiser("constant", 0.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_the_standard_families_are_recognised(name):
    draw, expected = FAMILIES[name]
    for seed in range(5):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(300, 100))
        with torch.no_grad():
            draw(net[0].weight)
        found, notes = infer_initialisers(net, {})
        assert found["0.weight"].kind == expected.kind
        assert found["0.weight"].scale == pytest.approx(expected.scale, rel=1e-9)
        assert found["0.bias"] == Initialiser.torch_default(300) and not notes


def test_convolutions_norms_and_embeddings():
    net = nn.Sequential(
        nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Conv1d(16, 20, 5), nn.Embedding(50, 20), nn.GRU(9, 4)
    )
    with torch.no_grad():
        net[2].bias.zero_()
    found, _ = infer_initialisers(net, {})
    assert found["0.weight"] == found["0.bias"] == Initialiser.torch_default(72)
    assert found["1.weight"] == Initialiser("constant", 1.0) and found["1.bias"] == Initialiser("constant", 0.0)
    assert found["2.weight"] == Initialiser.torch_default(80) and found["2.bias"] == Initialiser("constant", 0.0)
    assert found["3.weight"] == Initialiser("normal", 1.0)
    assert set(found) == {name for name, _ in net.named_parameters()}


def test_what_is_not_recognised_is_noted():
    net = nn.Sequential(nn.Linear(30, 20), nn.LayerNorm(20))
    with torch.no_grad():
        net[0].weight.exponential_()
        net[1].weight.uniform_()
    found, notes = infer_initialisers(net, {})
    assert found["0.weight"] == Initialiser.torch_default(30) and found["1.weight"] == Initialiser("constant", 1.0)
    assert set(notes) == {"0.weight", "1.weight"} and "Initialiser(kind='uniform'" in notes["0.weight"]
    net[0].weight.data.fill_(float("nan"))
    assert "0.weight" in infer_initialisers(net, {})[1]


def test_modules_are_believed_and_the_caller_most():
    net = MLP(7, [6], 2, initialisation="lecun")
    outer = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), net)
    with torch.no_grad():
        net.layers[0].weight.exponential_()
    given = {"0.weight": Initialiser("normal", 0.5)}
    network = find(outer, torch.zeros(2, 3), initialisers=given)
    assert network.initialisers["2.layers.0.weight"] == Initialiser.lecun_uniform(7) and not network.notes
    assert network.initialisers["0.weight"] == Initialiser("normal", 0.5)
    net.initialisers = {"layers.0.weight": 0.3}  # type: ignore[dict-item]
    with pytest.raises(SettingError, match="MLP.initialisers.* is no Initialiser"):
        find(outer, torch.zeros(2, 3))


def test_drawing_has_the_distribution():
    key = random.key(0)
    for initialiser, deviation in [(Initialiser("uniform", 0.3), 0.3 / 3**0.5), (Initialiser("normal", 2.0), 2.0)]:
        values = initialiser.draw(key, (400, 500))
        assert values.shape == (400, 500) and values.dtype == torch.float32
        assert abs(values.mean()) < 0.01 * deviation + 0.01 and values.std() == pytest.approx(deviation, rel=0.01)
        filled = initialiser.fill_(torch.empty(400, 500))
        assert filled.std() == pytest.approx(deviation, rel=0.01)
    assert (Initialiser("constant", 3.0).draw(key, (2, 2)) == 3).all()


def test_records_need_no_torch():
    code = "import sys; import neoteny.units.records, neoteny.units.initialise; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_small_layers_of_torch_are_taken_for_what_they_are():
    wrong = 0
    for seed in range(200):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3))
        wrong += sum(infer_initialisers(net, {})[0][f"{i}.weight"].kind != "uniform" for i in (0, 1))
    assert wrong <= 4
