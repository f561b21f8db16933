"""On a GPU runs and agents have the CPU's numbers, to rounding; the CPU takes these tests as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from neoteny import lab
from neoteny.errors import Stopped
from neoteny.lab.supervised import Supervised

DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
TINY = {"runs": 2, "scale": "tiny", "progress": False}
CBP = {"method": "cbp", "methods": {"cbp": {"replacement_rate": 0.04}}, "settings": {"bin_size": 20, "tasks": 2}}


@DEVICES
@pytest.mark.parametrize("strategy", ["stack", "loop"])
def test_runs(device, strategy, tmp_path):
    def on(name, **how):
        return lab.run("slowly-changing-regression", out=tmp_path / name, **TINY, **CBP, **how)

    alone = on("cpu", device="cpu", strategy="loop", compile=False)
    stack = on("device", device=device, strategy=strategy, compile=device != "cpu")
    assert stack["units_replaced", "layers.0"].sum() > 0
    np.testing.assert_allclose(stack["loss"], alone["loss"], rtol=1e-3)
    np.testing.assert_array_equal(stack["units_replaced", "layers.0"], alone["units_replaced", "layers.0"])


@DEVICES
def test_a_checkpoint(device, tmp_path):
    def stopped(self, judge=Supervised._judge):
        judge(self)
        if self._step >= 120:
            raise KeyboardInterrupt

    def on(name):
        how = {"device": device, "compile": False, "checkpoint_every": 0}
        return lab.run("slowly-changing-regression", out=tmp_path / name, **TINY, **CBP, **how)

    whole = on("whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr("neoteny.lab.supervised.Supervised._judge", stopped)
        on("cut")
    (folder,) = (tmp_path / "cut").glob("*/*")
    resumed = lab.resume(folder, progress=False)
    np.testing.assert_array_equal(resumed["loss"], whole["loss"])
    for name, weights in whole.final_weights().items():
        assert torch.equal(resumed.final_weights()[name], weights), name


@DEVICES
@pytest.mark.parametrize("kind", ["ppo", "sac", "pixels"])
def test_agents(device, kind):
    gymnasium = pytest.importorskip("gymnasium")
    from neoteny.rl import PPO, SAC, OneByOne, PixelDQN, PixelSettings, PPOSettings, SACSettings

    class Noise(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(0, 255, (2, 36, 36), np.uint8)
        action_space = gymnasium.spaces.Discrete(3)

        def reset(self, *, seed=None, options=None):
            self._rng = np.random.default_rng(seed)
            return self.observation_space.sample() * 0, {}

        def step(self, action):
            return self._rng.integers(0, 256, (2, 36, 36), dtype=np.uint8), float(action), False, False, {}

    def on(device):
        pendulum, how = OneByOne(lambda: gymnasium.make("Pendulum-v1"), 2), {"device": device, "compile": False}
        if kind == "ppo":
            return PPO(pendulum, settings=PPOSettings(rollout_steps=128, batch_size=64, epochs=1), **how)
        if kind == "sac":
            small = {"learning_starts": 30, "segment": 40, "batch_size": 16, "capacity": 100}
            return SAC(pendulum, settings=SACSettings(**small), **how)
        small = {"learning_starts": 16, "segment": 24, "batch_size": 4, "capacity": 64, "width": 0.125, "hidden": (8,)}
        settings = PixelSettings(atoms=11, jumps=2, priority=0.5, tau=0.005, **small)
        return PixelDQN(OneByOne(Noise, 2), settings=settings, total=100, **how)

    found, expected = on(device).iterate(), on("cpu").iterate()
    assert found.losses.keys() == expected.losses.keys()
    for name, values in expected.losses.items():
        np.testing.assert_allclose(found.losses[name], values, rtol=5e-3, atol=1e-4, err_msg=name)
