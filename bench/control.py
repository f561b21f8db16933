"""Steps a second of a core of the Control Suite's tasks: ours, dm_control's own environment, and the physics alone.

    python bench/control.py
    python bench/control.py --tasks cheetah-run --pixels 84

Sides take turns in one process, with the same random actions; the seconds are those of the core, and of each side the
best turn counts.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from neoteny.envs import ControlTask
from neoteny.envs.control_package import load_suite

TASKS = ("cheetah-run", "walker-run", "hopper-hop", "quadruped-run", "finger-turn_hard", "humanoid-stand")
STEPS, TURNS = 300, 4


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--pixels", type=int, help="side of pictures: measures them in place of states")
    options = parser.parse_args()
    print(f"| task | ours | {'' if options.pixels else 'dm_control | '}physics alone | ours / physics, time |")
    print(f"| --- | ---: | {'' if options.pixels else '---: | '}---: | ---: |")
    for name in options.tasks:
        ours = ControlTask(name, pixels=options.pixels)
        domain, _, task = name.partition("-")
        theirs = load_suite().load(domain, task, task_kwargs={"random": 0})
        low, high = ours.action_space.low, ours.action_space.high
        actions = np.random.default_rng(0).uniform(low, high, (STEPS, len(low)))

        def physics(action, ours=ours):
            ours._data.ctrl[:] = action
            ours._advance()

        sides = {"ours": ours.step, "dm_control": theirs.step, "physics": physics}
        if options.pixels:
            del sides["dm_control"]
        best = dict.fromkeys(sides, float("inf"))
        for _ in range(TURNS):
            for side, step in sides.items():
                theirs.reset() if side == "dm_control" else ours.reset(seed=0)
                begun = time.process_time()
                for action in actions:
                    step(action)
                best[side] = min(best[side], time.process_time() - begun)
        speeds = " | ".join(f"{STEPS / seconds:,.0f}" for seconds in best.values())
        print(f"| {name} | {speeds} | {best['ours'] / best['physics']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
