"""All methods, optimizers and benchmarks as data, for the command line, the documentation and the contract tests.

An `Entry` names a class without importing it, so listing is fast. Names of benchmarks have a version, which changes
when results would change; a name without a version means the newest.

You add a class of your own with `@neoteny.register`, or as an entry point of an installed package, in the group
`neoteny.methods`, `neoteny.optimizers` or `neoteny.benchmarks`:

    [project.entry-points."neoteny.methods"]
    mine = "mypackage.mine:Mine"
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar, overload

from neoteny.errors import NeotenyError, SettingError, UnknownNameError

__all__ = [
    "BENCHMARKS",
    "METHODS",
    "OPTIMIZERS",
    "Entry",
    "Table",
    "benchmark",
    "entry_of",
    "import_target",
    "method",
    "optimizer",
    "register",
    "resolve",
    "table_of",
]

T = TypeVar("T", bound=type)

TRAINERS = {"examples": "neoteny.lab.supervised:Supervised", "agents": "neoteny.rl.training:Reinforcement"}
"""The classes that train a benchmark's runs, by the kind of the benchmark: learners from examples, or agents."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_RESERVED = ("optimizer", "benchmark", "running")
_registered: dict[str, Any] = {}  # classes that were registered while this program runs, by target


@dataclass(frozen=True)
class Entry:
    """A class that has a name here.

    Attributes:
        name: what users call it.
        target: where its class lives, as `module:Class`.
        summary: one line on what it does.
        source: the publication it comes from.
        kind: for a method its stage (see `neoteny.methods.shared.order`); for a benchmark a key of `TRAINERS`.
        trainer: for a benchmark the class that trains it, if it is not the usual one of its kind.
    """

    name: str
    target: str
    summary: str
    source: str
    kind: str = ""
    trainer: str = ""

    def load(self) -> Any:
        """Import the module and return the class."""
        return _registered[self.target] if self.target in _registered else import_target(self.target)

    def load_trainer(self) -> Any:
        """The class that trains a stack of runs of this benchmark; see `neoteny.lab.training.Training`."""
        return import_target(self.trainer or TRAINERS[self.kind or "examples"])


def import_target(target: str) -> Any:
    """What `module:Class` names.

    Raises:
        ImportError: there is no such module.
        AttributeError: it has no such class.
    """
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


class Table(Mapping[str, Entry]):
    """Entries by name: those of this package, those of installed packages, and those that were registered.

    Iterating over names imports nothing; an entry of an installed package is imported when it is looked up.

    Args:
        kind: what it holds, for messages.
        base: the class that all of them derive from, as `module:Class`.
        attribute: the class attribute that holds the name.
        group: the group of entry points.
        entries: the entries of this package.
    """

    def __init__(self, kind: str, base: str, attribute: str, group: str, *entries: Entry):
        self.kind, self.base, self.attribute, self.group = kind, base, attribute, group
        self._own = {entry.name: entry for entry in entries}
        self._added: dict[str, Entry] = {}

    def __getitem__(self, name: str) -> Entry:
        if name in self._own:
            return self._own[name]
        if name not in self._added and name in self._installed:
            self._import(name)
        return self._added[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._own, *self._installed, *self._added]))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._added or name in self._installed

    def __repr__(self) -> str:
        return f"<{len(self)} entries: {', '.join(self)[:1_000]}>"

    def everywhere(self, name: str) -> bool:
        """Whether every program on this machine finds the name: this package or an installed one has it."""
        return name in self._own or name in self._installed

    def add(self, entry: Entry) -> None:
        """Add an entry; it replaces an earlier entry of the same class.

        Raises:
            SettingError: the name belongs to another class, or is not allowed.
        """
        there = self._own.get(entry.name) or self._added.get(entry.name)
        if there is not None and there.target != entry.target:
            raise SettingError(
                f"{entry.target} cannot be the {self.kind} {entry.name!r}, which is already {there.target}: "
                f"give it another {self.attribute}."
            )
        if not _NAME.fullmatch(entry.name) or entry.name in _RESERVED:
            raise SettingError(
                f"{entry.target} cannot be the {self.kind} {entry.name!r}: a name has small letters, digits and single "
                f"dashes, and is none of {', '.join(_RESERVED)}; give it another {self.attribute}."
            )
        self._added[entry.name] = entry

    def remove(self, name: str) -> None:
        """Forget what was registered under a name."""
        _registered.pop(self._added.pop(name).target, None)

    @cached_property
    def _installed(self) -> Mapping[str, importlib.metadata.EntryPoint]:
        found = importlib.metadata.entry_points(group=self.group)
        return {point.name: point for point in found if point.name not in self._own}

    def _import(self, name: str) -> None:
        point = self._installed[name]
        package = point.dist.name if point.dist else point.module
        cure = f"put the package {package} right, or uninstall it"
        try:
            cls = point.load()
        except Exception as error:  # another package's code may raise anything
            raise NeotenyError(
                f"The {self.kind} {name!r} of {package} cannot be imported ({type(error).__name__}: {error}): {cure}."
            ) from error
        if table_of(cls) is not self or getattr(cls, self.attribute, None) != name:
            raise NeotenyError(
                f"{point.value} is no {self.kind} with the {self.attribute} {name!r} of its entry point: {cure}."
            )
        if name not in self._added:  # else importing it has registered it
            self.add(_described(self, cls))


METHODS = Table(
    "method",
    "neoteny.methods.base:Method",
    "name",
    "neoteny.methods",
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

OPTIMIZERS = Table(
    "optimizer",
    "neoteny.optim.base:Optimizer",
    "name",
    "neoteny.optimizers",
    Entry(
        "sgd",
        "neoteny.optim.sgd:SGD",
        "stochastic gradient descent, with heavy-ball momentum",
        "Robbins & Monro, Ann. Math. Stat. 22, 1951; Polyak, USSR Comp. Math. 4, 1964 (momentum)",
    ),
    Entry(
        "adam",
        "neoteny.optim.adam:Adam",
        "steps divided by the root of the gradients' mean square",
        "Kingma & Ba, ICLR 2015",
    ),
    Entry(
        "adamw",
        "neoteny.optim.adamw:AdamW",
        "Adam with decoupled weight decay",
        "Loshchilov & Hutter, ICLR 2019",
    ),
    Entry(
        "muon",
        "neoteny.optim.muon:Muon",
        "momentum whose singular values are all made about one; Adam for what is no hidden matrix",
        "Jordan et al., https://kellerjordan.github.io/posts/muon, 2024",
    ),
)
"""Every optimizer, by name."""

BENCHMARKS = Table(
    "benchmark",
    "neoteny.lab.benchmark:Benchmark",
    "ID",
    "neoteny.benchmarks",
    Entry(
        "slowly-changing-regression-v1",
        "neoteny.benchmarks.slowly_changing_regression:SlowlyChangingRegressionBenchmark",
        "a 20-5-1 network follows a target whose input distribution changes every 10,000 examples",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "online-permuted-mnist-v1",
        "neoteny.benchmarks.online_permuted_mnist:OnlinePermutedMNIST",
        "MNIST, one example at a time, under a new permutation of the pixels each task",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "trainability-v1",
        "neoteny.benchmarks.trainability:TrainabilityBenchmark",
        "some images of MNIST under a new permutation of the pixels each task, in epochs: can they still be fitted?",
        "after Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
        "examples",
    ),
    Entry(
        "shuffled-labels-v1",
        "neoteny.benchmarks.shuffled_labels:ShuffledLabels",
        "some images of MNIST with new random labels each task, in epochs: can they still be memorised?",
        "Lyle et al., ICML 2023; Kumar, Marklund & Van Roy, arXiv 2308.11958, 2023",
        "examples",
    ),
    Entry(
        "continual-imagenet-v1",
        "neoteny.benchmarks.continual_imagenet:ContinualImageNet",
        "to tell one class of ImageNet from another, then two others, thousands of times",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
    Entry(
        "ant-v1",
        "neoteny.benchmarks.locomotion:AntLocomotion",
        "an ant learns to walk by PPO, and goes on learning for 50 million steps",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "slippery-ant-v1",
        "neoteny.benchmarks.locomotion:SlipperyAnt",
        "an ant learns to walk by PPO while the friction of the ground changes",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "hopper-v1",
        "neoteny.benchmarks.locomotion:HopperLocomotion",
        "a robot of one leg learns to hop by PPO",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "walker2d-v1",
        "neoteny.benchmarks.locomotion:Walker2dLocomotion",
        "a robot of two legs learns to walk by PPO",
        "Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "slippery-half-cheetah-v1",
        "neoteny.benchmarks.locomotion:SlipperyHalfCheetah",
        "a robot in a plane learns to run by PPO while the friction of the ground changes",
        "after Dohare et al., Nature 632, 2024",
        "agents",
    ),
    Entry(
        "incremental-cifar100-v1",
        "neoteny.benchmarks.incremental_cifar100:IncrementalCIFAR100",
        "a ResNet-18 learns five classes of CIFAR-100, then ten, up to a hundred",
        "Dohare et al., Nature 632, 2024",
        "examples",
    ),
)
"""Every version of every benchmark, by id."""

_VERSION = re.compile(r"(?P<base>.+)-v(?P<version>\d+)")


def _base_and_version(name: str) -> tuple[str, int]:
    match = _VERSION.fullmatch(name)
    return (match["base"], int(match["version"])) if match else (name, 0)


def resolve(name: str, table: Mapping[str, Entry], kind: str = "name") -> Entry:
    """The entry of a name; of the newest version if the name has none.

    Args:
        name: a name of the table, or such a name without its `-v<number>`.
        table: `METHODS`, `BENCHMARKS` or one like them.
        kind: what the table holds, for the error message.

    Raises:
        UnknownNameError: the name is unknown; the message suggests similar names.

    >>> resolve("online-permuted-mnist", BENCHMARKS).name
    'online-permuted-mnist-v1'
    """
    if name in table:
        return table[name]
    versions = [other for other in table if _base_and_version(other)[0] == name]
    if not versions:
        raise UnknownNameError(name, table, kind)
    return table[max(versions, key=lambda other: _base_and_version(other)[1])]


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


def optimizer(name: str) -> Entry:
    """The optimizer of that name.

    >>> optimizer("adamw").target
    'neoteny.optim.adamw:AdamW'
    """
    return resolve(name, OPTIMIZERS, "optimizer")


@overload
def register(cls: T, /) -> T: ...
@overload
def register(*, name: str = "", summary: str = "", source: str = "", trainer: str = "") -> Callable[[T], T]: ...
def register(cls: Any = None, /, *, name: str = "", summary: str = "", source: str = "", trainer: str = "") -> Any:
    """Give your own method, optimizer or benchmark a name that the laboratory and the command line know.

    A decorator of the class, above `@dataclass`, with or without arguments. A program knows the name after it has
    imported the module. For `neoteny run`, name the class as an entry point of an installed package.

    Args:
        cls: a subclass of `neoteny.methods.Method`, `neoteny.optim.Optimizer` or `neoteny.lab.benchmark.Benchmark`.
        name: what it is called; by default its `name` (or `ID`), else the class's name as in `my-method`.
        summary: one line on what it does; by default the first sentence of its docstring.
        source: the publication it comes from.
        trainer: for a benchmark the class that trains it, as `module:Class`, if it is not the usual one.

    Raises:
        SettingError: the class is none of these, or the name is taken.

    >>> from dataclasses import dataclass
    >>> from neoteny.methods import Method
    >>> @register(source="nowhere yet")
    ... @dataclass(frozen=True, kw_only=True)
    ... class SleepOverIt(Method):
    ...     "Do nothing, slowly."
    ...     hours: float = 8.0
    >>> method("sleep-over-it").summary, METHODS["sleep-over-it"].load() is SleepOverIt
    ('Do nothing, slowly', True)
    >>> METHODS.remove("sleep-over-it")
    """
    if cls is None:
        return partial(register, name=name, summary=summary, source=source, trainer=trainer)
    table = table_of(cls)
    if name:
        setattr(cls, table.attribute, name)
    entry = _described(table, cls, summary, source, trainer)
    table.add(entry)
    _registered[entry.target] = cls
    return cls


def table_of(cls: Any) -> Table:
    """The table that a class belongs to.

    Raises:
        SettingError: it belongs to none.
    """
    bases = [_target(base) for base in getattr(cls, "__mro__", ())]
    for table in (METHODS, OPTIMIZERS, BENCHMARKS):
        if table.base in bases:
            return table
    bases = ", ".join(table.base.replace(":", ".") for table in (METHODS, OPTIMIZERS, BENCHMARKS))
    raise SettingError(f"{cls!r} is no method, optimizer or benchmark: derive the class from one of {bases}.")


def entry_of(cls: type) -> Entry:
    """The entry of a class, registered or not.

    Raises:
        SettingError: the class is no method, optimizer or benchmark, or has the name of another one.
    """
    table = table_of(cls)
    entry = _described(table, cls)
    there = table.get(entry.name)
    if there is None:
        return entry
    if there.target != entry.target:
        raise SettingError(
            f"{entry.target} is called {entry.name!r}, like {there.target}: give it another {table.attribute}."
        )
    return there


def _described(table: Table, cls: Any, summary: str = "", source: str = "", trainer: str = "") -> Entry:
    """The entry of a class, from its attributes and docstring; without a name it is named after the class."""
    if not getattr(cls, table.attribute, ""):
        setattr(cls, table.attribute, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower())
    said = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
    kind = getattr(cls, {METHODS.base: "stage", BENCHMARKS.base: "KIND"}.get(table.base, ""), "")
    name = getattr(cls, table.attribute)
    return Entry(name, _target(cls), summary or said.partition(". ")[0].rstrip("."), source, kind, trainer)


def _target(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
