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
        kind: of a method its stage (see `neoteny.methods.shared.order`).
    """

    name: str
    target: str
    summary: str
    source: str
    kind: str = ""

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
        "regulariser",
    ),
    Entry(
        "l2-init",
        "neoteny.methods.regenerative:L2Init",
        "pull every weight towards its initial value",
        "Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
        "regulariser",
    ),
    Entry(
        "l1-init",
        "neoteny.methods.regenerative:L1Init",
        "pull every weight towards its initial value, with the same force at any distance",
        "Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
        "regulariser",
    ),
    Entry(
        "huber-init",
        "neoteny.methods.regenerative:HuberInit",
        "pull every weight towards its initial value, with a force that grows up to a distance",
        "after Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023; Huber, Ann. Math. Stat. 35, 1964",
        "regulariser",
    ),
    Entry(
        "spectral",
        "neoteny.methods.spectral:Spectral",
        "keep the largest singular value of every layer at one",
        "Lewandowski, Bortkiewicz, Kumar, György, Schuurmans, Ostaszewski & Machado, ICLR 2025, arXiv 2406.06811",
        "regulariser",
    ),
    Entry(
        "parseval",
        "neoteny.methods.parseval:Parseval",
        "keep the rows of every hidden layer's weights orthogonal",
        "Chung, Cherif, Meger & Precup, NeurIPS 2024, arXiv 2412.07224",
        "regulariser",
    ),
    Entry(
        "l2-er",
        "neoteny.methods.effective_rank:EffectiveRank",
        "L2, and a term that keeps the effective rank of the features high",
        "He, Guo, Prakash, Tiwari, Tao, Serapio, Greenwald & Konidaris, arXiv 2509.22335, 2025",
        "regulariser",
    ),
    Entry(
        "c-chain",
        "neoteny.methods.c_chain:CChain",
        "keep each update from changing the outputs on other examples",
        "Tang, Obando-Ceron, Castro, Courville & Berseth, ICML 2025, arXiv 2506.00592",
        "regulariser",
    ),
    Entry(
        "infer",
        "neoteny.methods.infer:InFeR",
        "keep the outputs of extra heads on the features near their initial values",
        "Lyle, Rowland & Dabney, ICLR 2022",
        "regulariser",
    ),
    Entry(
        "self-distillation",
        "neoteny.methods.self_distillation:SelfDistillation",
        "pull the outputs towards those of a moving average of the weights",
        "Tarvainen & Valpola, NeurIPS 2017; Lee et al., ICML 2024",
        "regulariser",
    ),
    Entry(
        "upgd",
        "neoteny.methods.upgd:UPGD",
        "small steps and little noise for useful weights, large steps and much noise for the others",
        "Elsayed & Mahmood, ICLR 2024, arXiv 2404.00781",
        "optimizer",
    ),
    Entry(
        "shrink-and-perturb",
        "neoteny.methods.shrink_and_perturb:ShrinkAndPerturb",
        "shrink the weights and add noise: at every step, or at a change of task",
        "Ash & Adams, NeurIPS 2020",
        "perturbation",
    ),
    Entry(
        "dash",
        "neoteny.methods.dash:DASH",
        "at a change of task, shrink weights that do not point along the negative gradient",
        "Shin, Oh, Cho & Yun, NeurIPS 2024, arXiv 2410.23495",
        "perturbation",
    ),
    Entry(
        "weight-clipping",
        "neoteny.methods.weight_clipping:WeightClipping",
        "keep every weight within a bound",
        "Elsayed, Lan, Lyle & Mahmood, RLC 2024, arXiv 2407.01704",
        "projection",
    ),
    Entry(
        "normalise-and-project",
        "neoteny.methods.normalise_and_project:NormaliseAndProject",
        "layer norms, and weight matrices that keep their initial norm",
        "Lyle, Zheng, Khetarpal, Martens, van Hasselt, Pascanu & Dabney, NeurIPS 2024, arXiv 2407.01800",
        "projection",
    ),
    Entry(
        "fire",
        "neoteny.methods.fire:FIRE",
        "at a change of task, replace every weight matrix by the nearest isometry",
        "Han, Park, Oh, Kim, Lee & Kim, ICLR 2026, arXiv 2602.08040",
        "projection",
    ),
    Entry(
        "cbp",
        "neoteny.methods.continual_backprop:ContinualBackprop",
        "continual backpropagation: replace units of least utility at a low rate",
        "Dohare et al., Nature 632, 2024",
        "reset",
    ),
    Entry(
        "redo",
        "neoteny.methods.redo:ReDo",
        "reset dormant units every so many updates",
        "Sokar et al., ICML 2023",
        "reset",
    ),
    Entry(
        "regrama",
        "neoteny.methods.regrama:ReGraMa",
        "reset units that get hardly any gradient every so many updates",
        "Liu, Wu, Obando-Ceron, Castro, Courville & Pan, NeurIPS 2025, arXiv 2505.24061",
        "reset",
    ),
    Entry(
        "snr",
        "neoteny.methods.snr:SelfNormalisedResets",
        "reset units that have not fired for longer than is usual for them",
        "Farias & Jozefiak, ICLR 2025, arXiv 2410.20098",
        "reset",
    ),
    Entry(
        "cpr",
        "neoteny.methods.continuous_partial_resets:ContinuousPartialResets",
        "reset every unit partly, more where its gradient is small",
        "arXiv 2607.24996, 2026",
        "reset",
    ),
    Entry(
        "swr",
        "neoteny.methods.selective_reinitialisation:SelectiveReinitialisation",
        "draw single weights of low utility anew",
        "Hernandez-Garcia, Dohare, Luo & Sutton, CoLLAs 2025, arXiv 2508.00212",
        "reset",
    ),
    Entry(
        "plasticity-injection",
        "neoteny.methods.plasticity_injection:PlasticityInjection",
        "freeze the head and train a new one that is added to it, without changing the output",
        "Nikishin, Oh, Ostrovski, Lyle, Pascanu, Dabney & Barreto, NeurIPS 2023, arXiv 2305.15555",
        "reset",
    ),
    Entry(
        "head-reset",
        "neoteny.methods.head_reset:HeadReset",
        "draw the last layers anew",
        "Nikishin et al., ICML 2022",
        "reset",
    ),
    Entry(
        "full-reset",
        "neoteny.methods.full_reset:FullReset",
        "draw the whole network anew",
        "Nikishin et al., ICML 2022",
        "reset",
    ),
    Entry(
        "hare-and-tortoise",
        "neoteny.methods.hare_and_tortoise:HareAndTortoise",
        "from time to time, set the network back to a slow average of its weights",
        "Lee, Cho, Kim, Kim, Min, Choo & Lyle, ICML 2024, arXiv 2406.02596",
        "average",
    ),
    Entry(
        "ema",
        "neoteny.methods.ema:EMA",
        "evaluate the exponential moving average of the weights",
        "after Polyak & Juditsky, SIAM J. Control Optim. 30, 1992",
        "average",
    ),
    Entry(
        "crelu",
        "neoteny.methods.architecture:WithCReLU",
        "concatenated rectifiers in place of the activations, in a network with as many parameters",
        "Abbas et al., CoLLAs 2023; Shang et al., ICML 2016",
        "architecture",
    ),
    Entry(
        "deep-fourier",
        "neoteny.methods.architecture:WithDeepFourier",
        "sine and cosine in place of the activations, in a network with as many parameters",
        "Lewandowski, Schuurmans & Machado, ICLR 2025",
        "architecture",
    ),
    Entry(
        "smooth-leaky",
        "neoteny.methods.architecture:WithSmoothLeaky",
        "a smooth leaky rectifier in place of the activations",
        "Lillo & Cheney, ICLR 2026, arXiv 2509.22562",
        "architecture",
    ),
    Entry(
        "aid",
        "neoteny.methods.architecture:WithIntervalDropout",
        "dropout as an activation: its probability depends on the sign of the pre-activation",
        "Park, Han, Oh & Kim, ICML 2025, arXiv 2502.01342",
        "architecture",
    ),
    Entry(
        "dropout",
        "neoteny.methods.architecture:WithDropout",
        "drop hidden activations in training",
        "Srivastava et al., JMLR 15, 2014",
        "architecture",
    ),
    Entry(
        "layer-norm",
        "neoteny.methods.architecture:WithLayerNorm",
        "a layer norm in front of every hidden activation",
        "Ba, Kiros & Hinton, arXiv 1607.06450, 2016",
        "architecture",
    ),
    Entry(
        "batch-norm",
        "neoteny.methods.architecture:WithBatchNorm",
        "a batch norm in front of every hidden activation",
        "Ioffe & Szegedy, ICML 2015",
        "architecture",
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
        "trainability-v1",
        "neoteny.benchmarks.trainability:Trainability",
        "some images of MNIST under a new permutation of the pixels each task, in epochs: can they still be fitted?",
        "after Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
    ),
    Entry(
        "shuffled-labels-v1",
        "neoteny.benchmarks.shuffled_labels:ShuffledLabels",
        "some images of MNIST with new random labels each task, in epochs: can they still be memorised?",
        "Lyle et al., ICML 2023; Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
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

    Args:
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
