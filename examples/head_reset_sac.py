"""ReDo and periodic resets of the last layers under SAC of Stable-Baselines3; needs `pip install stable-baselines3`.

Nikishin, Schwarzer, D'Oro, Bacon & Courville, "The primacy bias in deep reinforcement learning", ICML 2022: layers
are reset together with their optimizer's moments, their copy in the target network and the temperature. The replay
buffer is kept, and from it the agent soon learns again. They reset all layers of SAC (`--layers 3`), and those of DrQ
after its encoder.

python examples/head_reset_sac.py             # trains and leaves Stable-Baselines3's checkpoint
python examples/head_reset_sac.py --resume    # goes on from it
"""

from dataclasses import dataclass
from pathlib import Path

import gymnasium
import torch
import tyro
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

import neoteny
from neoteny.methods.head_reset import last_layers


@dataclass
class Args:
    """The options of the command line."""

    total_timesteps: int = 10_000
    reset_every: int = 4_000  # steps of the environment between two resets
    layers: int = 2  # how many of the last layers of actor and critic are reset
    redo: int = 500  # updates between two resets of dormant units
    seed: int = 0
    folder: str = "runs/head_reset_sac"
    resume: bool = False


# [callback]
class Resets(BaseCallback):
    """Resets the last layers of actor and critic, every `every` steps of the environment."""

    def __init__(self, actor, critic, every, layers):
        super().__init__()
        self.actor, self.critic, self.every, self.layers = actor, critic, every, layers

    def _on_step(self):
        if self.num_timesteps % self.every == 0:
            self.actor.new_task()  # HeadReset: new weights, and Adam's moments and step counts at 0
            self.critic.new_task()
            fresh, target = self.model.critic.state_dict(), self.model.critic_target.state_dict()
            for name in last_layers(self.critic.units, self.layers):
                target[name].copy_(fresh[name])  # otherwise targets come from the old weights
            with torch.no_grad():
                self.model.log_ent_coef.zero_()
            self.model.ent_coef_optimizer.state.clear()
        return True


# [called back]


def build(args):
    """The agent, new or from its checkpoint, and the callback that resets it."""
    env, checkpoint = gymnasium.make("Pendulum-v1"), f"{args.folder}/sac.zip"
    if args.resume:
        model = SAC.load(checkpoint, env)
        model.load_replay_buffer(f"{args.folder}/replay_buffer.pkl")
    else:
        settings = {"learning_starts": 100, "learning_rate": 1e-3, "policy_kwargs": {"net_arch": [64, 64]}}
        model = SAC("MlpPolicy", env, **settings, seed=args.seed, device="cpu")

    # [attach]
    observation, _ = model.policy.obs_to_tensor(model.observation_space.sample())
    action = torch.zeros(1, *model.action_space.shape)
    methods = [neoteny.ReDo(period=args.redo), neoteny.HeadReset(layers=args.layers)]
    actor = neoteny.attach(model.actor, model.actor.optimizer, methods, example_inputs=observation)
    critic = neoteny.attach(model.critic, model.critic.optimizer, methods, (observation, action), seed=1)
    # [attached]

    if args.resume:
        model.set_parameters(checkpoint)  # again: when `load` read it, nothing was attached yet
    return model, Resets(actor, critic, args.reset_every, args.layers)


def main(args):
    """Train; returns the agent and the callback, which knows what neoteny attached."""
    model, resets = build(args)
    model.learn(args.total_timesteps, callback=resets, reset_num_timesteps=not args.resume)
    Path(args.folder).mkdir(parents=True, exist_ok=True)
    model.save(f"{args.folder}/sac.zip")
    model.save_replay_buffer(f"{args.folder}/replay_buffer.pkl")
    print("actor", resets.actor.counters(), "critic", resets.critic.counters())
    print("returns", [round(episode["r"]) for episode in model.ep_info_buffer])
    return model, resets


if __name__ == "__main__":
    main(tyro.cli(Args))
