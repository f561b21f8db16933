"""Continual backpropagation under PPO of Stable-Baselines3; needs `pip install stable-baselines3`.

python examples/stable_baselines3_ppo.py             # trains and leaves Stable-Baselines3's checkpoint
python examples/stable_baselines3_ppo.py --resume    # goes on from it
"""

import sys
from pathlib import Path

import gymnasium
from stable_baselines3 import PPO

import neoteny


def build(checkpoint=None):
    """The agent, new or from a checkpoint, and what neoteny attached to it."""
    env = gymnasium.make("CartPole-v1")
    model = PPO.load(checkpoint, env) if checkpoint else PPO("MlpPolicy", env, n_steps=256, seed=0, device="cpu")

    # [attach]
    observation, _ = model.policy.obs_to_tensor(model.observation_space.sample())
    cbp = neoteny.ContinualBackprop(replacement_rate=1e-3)
    plasticity = neoteny.attach(model.policy, model.policy.optimizer, cbp, example_inputs=observation)
    # [attached]

    if checkpoint:
        # [resume]
        model.set_parameters(checkpoint)  # again: when `load` read it, nothing was attached yet
        # [resumed]
    return model, plasticity


def main(steps=2048, folder="runs/stable_baselines3_ppo", resume=False):
    """Train for `steps` of the environment; returns the agent and what neoteny attached to it."""
    path = Path(folder, "ppo.zip")
    model, plasticity = build(path if resume else None)
    model.learn(steps, reset_num_timesteps=not resume)
    model.save(path)
    print(plasticity.counters())
    return model, plasticity


if __name__ == "__main__":
    main(resume="--resume" in sys.argv)
