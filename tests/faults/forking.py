"""Trains in forked children that are killed when asked, so that torch is imported only once.

Reads jobs from standard input, one JSON object a line: what to run or resume, and when to kill the child, in seconds
after it began (`life`) or after it wrote its first checkpoint (`training`). Answers with the child's status, how long
both were, and what it said: 0 is finished, 2 an error of neoteny's in words, 1 any other error. It is a program of its
own, because a process that has used polars must not fork.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch._dynamo  # finding units imports it, which takes a second: here once, and not in every child

from neoteny import data, lab
from neoteny.errors import NeotenyError
from neoteny.lab import running, supervised  # noqa: F401 - imported here, so that the children need not
from neoteny.lab.strategies.base import Strategy

if find_spec("gymnasium") and find_spec("mujoco"):
    from neoteny.envs import MujocoVectorEnv
    from neoteny.rl import training  # noqa: F401

    MujocoVectorEnv("Ant-v5", 1).close()
if find_spec("ale_py") and find_spec("cv2"):
    import ale_py  # noqa: F401
    import cv2  # noqa: F401


def made_up_mnist(data_dir=None, train=True):
    """600 pictures of noise around ten prototypes: the permuted digits' test needs no download."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 10
    prototypes = rng.integers(0, 200, (10, 784))
    return (prototypes[labels] + rng.integers(0, 56, (600, 784))).astype(np.uint8), labels


def made_up_images(classes, each):
    """Noise around a colour of each class."""
    rng = np.random.default_rng(0)
    colours = rng.integers(60, 196, (classes, 1, 3, 1, 1))
    return (colours + rng.integers(-60, 60, (classes, each, 3, 32, 32))).astype(np.uint8)


def made_up_cifar100(data_dir=None, train=True):
    """Six classes of 15 images."""
    return made_up_images(6, 15).reshape(-1, 3, 32, 32), np.repeat(np.arange(6), 15)


def work(job) -> None:
    torch.set_num_threads(1)
    data.mnist = made_up_mnist
    data.cifar100 = made_up_cifar100
    data.imagenet32 = lambda data_dir=None: data.ImageClasses(tuple(made_up_images(6, 30)), "made-up images")
    if "unroll" in job:  # short graphs: what makes a learner fast is not looked at, and compiled anew in every life
        Strategy.unroll_for = classmethod(lambda cls, *_: job["unroll"])
    if job.get("resume"):
        lab.resume(Path(job["checkpoint"]).parent, progress=False, checkpoint_every=0.0)
        return
    config = lab.resolve(**job["config"])
    lab.run(config, out=Path(job["out"]), resume=True, progress=False, checkpoint_every=0.0, **job["execution"])


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        began = time.monotonic()
        said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - the child writes, this process reads
        child = os.fork()
        if child == 0:
            status = 1
            try:
                warnings.simplefilter("ignore")
                work(job)
                status = 0
            except NeotenyError as error:
                status = 2
                print(error, file=said, flush=True)
            except BaseException:
                traceback.print_exc(file=said)
                said.flush()
            os._exit(status)
        checkpoint, saved = Path(job["checkpoint"]), {}
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        ended = 0
        while not ended:
            time.sleep(0.002)
            now = time.monotonic()
            if not saved and checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                saved = {"training": now}
            since = {"life": began, **saved}.get(job.get("kill"))
            if since is not None and now - since >= job["after"]:
                os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, os.WNOHANG)
        now = time.monotonic()
        answer = {"status": os.waitstatus_to_exitcode(status), "life": now - began}
        answer["training"] = now - saved.get("training", now)
        with said:
            said.seek(0)
            answer["said"] = said.read()[-4000:]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
