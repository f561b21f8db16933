"""Continual backpropagation under SAC of Stable-Baselines3; needs `pip install stable-baselines3`.

Actor and critic have an optimizer each, so neoteny is attached to each. Target networks follow as usual.

python examples/stable_baselines3_sac.py             # trains and leaves Stable-Baselines3's checkpoint
python examples/stable_baselines3_sac.py --resume    # goes on from it
"""

import sys
from pathlib import Path

import gymnasium
import torch
from stable_baselines3 import SAC

import neoteny


def build(folder, resume):
    """The agent, new or from its checkpoint, and what neoteny attached to its actor and its critic."""
    env = gymnasium.make("Pendulum-v1")
    if resume:
        model = SAC.load(f"{folder}/sac.zip", env)
        model.load_replay_buffer(f"{folder}/replay_buffer.pkl")
    else:
        layers = {"net_arch": [64, 64]}
        model = SAC("MlpPolicy", env, learning_starts=100, policy_kwargs=layers, seed=0, device="cpu")

    # [attach]
    observation, _ = model.policy.obs_to_tensor(model.observation_space.sample())
    action = torch.zeros(1, *model.action_space.shape)
    cbp = neoteny.ContinualBackprop(replacement_rate=1e-3)
    actor = neoteny.attach(model.actor, model.actor.optimizer, cbp, example_inputs=observation)
    critic = neoteny.attach(model.critic, model.critic.optimizer, cbp, example_inputs=(observation, action), seed=1)
    # [attached]

    if resume:
        # [resume]
        model.set_parameters(f"{folder}/sac.zip")  # again: when `load` read it, nothing was attached yet
        # [resumed]
    return model, actor, critic


def main(steps=500, folder="runs/stable_baselines3_sac", resume=False):
    """Train for `steps` of the environment; returns the agent and what neoteny attached to actor and critic."""
    model, actor, critic = build(folder, resume)
    model.learn(steps, reset_num_timesteps=not resume)
    Path(folder).mkdir(parents=True, exist_ok=True)
    model.save(f"{folder}/sac.zip")
    model.save_replay_buffer(f"{folder}/replay_buffer.pkl")
    print("actor", actor.counters(), "critic", critic.counters())
    return model, actor, critic


if __name__ == "__main__":
    main(resume="--resume" in sys.argv)
