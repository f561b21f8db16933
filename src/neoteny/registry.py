"""What there is, as data in one place: it feeds the command line, the documentation and the contract tests.

An `Entry` names a class without importing it, so that listing costs nothing. Names of benchmarks carry a version, which
changes whenever results would; a name without one means the newest.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from neoteny.errors import UnknownNameError

__all__ = ["BENCHMARKS", "METHODS", "Entry", "benchmark", "method", "resolve"]


@dataclass(frozen=True)
class Entry:
    """One thing that has a name.

    Attributes:
        name: what users call it.
        target: where its class lives, as `module:Class`.
        summary: one line on what it does.
        source: the publication it comes from.
    """

    name: str
    target: str
    summary: str
    source: str

    def load(self) -> Any:
        """Import the module and return the class."""
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


def _table(*entries: Entry) -> Mapping[str, Entry]:
    return MappingProxyType({entry.name: entry for entry in entries})


METHODS = _table(
    Entry(
        "l2",
        "neoteny.methods.l2:L2",
        "pull every weight towards zero: coupled weight decay, or decoupled",
        "Krogh & Hertz, NeurIPS 1991; Loshchilov & Hutter, ICLR 2019 (decoupled)",
    ),
    Entry(
        "l2-init",
        "neoteny.methods.l2_init:L2Init",
        "pull every weight towards its initial value",
        "Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
    ),
    Entry(
        "shrink-and-perturb",
        "neoteny.methods.shrink_and_perturb:ShrinkAndPerturb",
        "shrink the weights and add noise: at every step, or at a change of task",
        "Ash & Adams, NeurIPS 2020",
    ),
    Entry(
        "cbp",
        "neoteny.methods.continual_backprop:ContinualBackprop",
        "continual backpropagation: now and then make the least useful unit new again",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "redo",
        "neoteny.methods.redo:ReDo",
        "make dormant units new again, every so many updates",
        "Sokar et al., ICML 2023",
    ),
    Entry(
        "head-reset",
        "neoteny.methods.head_reset:HeadReset",
        "make the last layers new again",
        "Nikishin et al., ICML 2022",
    ),
    Entry(
        "full-reset",
        "neoteny.methods.full_reset:FullReset",
        "make the whole network new again",
        "Nikishin et al., ICML 2022",
    ),
)
"""Every method, by name."""

BENCHMARKS = _table(
    Entry(
        "slowly-changing-regression-v1",
        "neoteny.benchmarks.slowly_changing_regression:SlowlyChangingRegression",
        "a 20-5-1 network follows a target whose input distribution changes every 10,000 examples",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "online-permuted-mnist-v1",
        "neoteny.benchmarks.online_permuted_mnist:OnlinePermutedMNIST",
        "MNIST, one example at a time, under a new permutation of the pixels each task",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "continual-imagenet-v1",
        "neoteny.benchmarks.continual_imagenet:ContinualImageNet",
        "to tell one class of ImageNet from another, then two others, thousands of times",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "ant-v1",
        "neoteny.benchmarks.locomotion:Ant",
        "an ant learns to walk by PPO, and goes on learning for 50 million steps",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "slippery-ant-v1",
        "neoteny.benchmarks.locomotion:SlipperyAnt",
        "an ant learns to walk by PPO while the friction of the ground changes",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "hopper-v1",
        "neoteny.benchmarks.locomotion:Hopper",
        "a robot of one leg learns to hop by PPO",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "walker2d-v1",
        "neoteny.benchmarks.locomotion:Walker2d",
        "a robot of two legs learns to walk by PPO",
        "Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "slippery-half-cheetah-v1",
        "neoteny.benchmarks.locomotion:SlipperyHalfCheetah",
        "a robot in a plane learns to run by PPO while the friction of the ground changes",
        "after Dohare et al., Nature 632, 2024",
    ),
    Entry(
        "incremental-cifar100-v1",
        "neoteny.benchmarks.incremental_cifar100:IncrementalCIFAR100",
        "a ResNet-18 learns five classes of CIFAR-100, then ten, up to a hundred",
        "Dohare et al., Nature 632, 2024",
    ),
)
"""Every version of every benchmark, by id."""

_VERSION = re.compile(r"(?P<base>.+)-v(?P<version>\d+)")


def _base_and_version(name: str) -> tuple[str, int]:
    match = _VERSION.fullmatch(name)
    return (match["base"], int(match["version"])) if match else (name, 0)


def resolve(name: str, table: Mapping[str, Entry], kind: str = "name") -> Entry:
    """The entry of a name; of the newest version where the name carries none.

    Arguments:
        name: a name of the table, or such a name without its `-v<number>`.
        table: `METHODS`, `BENCHMARKS` or one like them.
        kind: what the table holds, for the error message.

    Raises:
        UnknownNameError: nothing goes by that name; the message suggests the near ones.

    >>> resolve("online-permuted-mnist", BENCHMARKS).name
    'online-permuted-mnist-v1'
    """
    if name in table:
        return table[name]
    versions = [entry for entry in table.values() if _base_and_version(entry.name)[0] == name]
    if not versions:
        raise UnknownNameError(name, table, kind)
    return max(versions, key=lambda entry: _base_and_version(entry.name)[1])


def method(name: str) -> Entry:
    """The method of that name.

    >>> method("cbp").target
    'neoteny.methods.continual_backprop:ContinualBackprop'
    """
    return resolve(name, METHODS, "method")


def benchmark(name: str) -> Entry:
    """The benchmark of that id, or the newest version of that name.

    >>> benchmark("slowly-changing-regression").name
    'slowly-changing-regression-v1'
    """
    return resolve(name, BENCHMARKS, "benchmark")
