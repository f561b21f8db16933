"""Plasticity injection: freeze the head, and train a new one that is added to it.

Nikishin, Oh, Ostrovski, Lyle, Pascanu, Dabney & Barreto, "Deep reinforcement learning with plasticity injection",
NeurIPS 2023, arXiv 2305.15555 (Expression 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from neoteny.checks import require_count
from neoteny.errors import NetworkError, SettingError, UnknownNameError
from neoteny.methods.base import Contract, Method, Stage, Step, Tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from neoteny.methods.shared.schedule import Periodic
    from neoteny.units.records import Network


@dataclass(frozen=True, kw_only=True)
class PlasticityInjection(Method):
    """Once, freeze the head and add a new head that learns, without changing the output at that moment.

    With the features f that the network feeds to its head, and fresh weights θ', the head h becomes

        h_θ(f)  →  h_θ(f) + h_θ'(f) - h_θ'₀(f)        θ frozen, θ' learns, θ'₀ = θ' as drawn, frozen

    At that moment the output is what it was, up to rounding, and as many weights are trained as before. They have the
    names of the head's weights, and their optimizer's state starts anew. The gradient reaches f through all three
    heads.

    `neoteny.prepare` makes room: it gives the head two frozen copies, `injection.old` and `injection.frozen`, that
    cancel until the injection. A head with them costs three times as much.

    Args:
        task: the change of task at which the injection comes, counted from 1.
        after: instead of that, the number of updates after which it comes.
        layers: the head is this many last layers of a network that is a chain of layers; of another network it is the
            smallest submodule with these layers. One would have no effect: a linear layer plus the change of another
            linear layer is one linear layer.
        head: instead of that, the name of the submodule that is the head.

    Raises:
        SettingError: a count below 1, or 2 for the layers; a head of one layer.
        NetworkError: the last layers are neither a chain nor in a submodule of their own; the head has dropout, batch
            norms, recurrent layers or shared weights; or the network does not call it exactly once.
        UnknownNameError: no submodule has the name given as `head`.

    >>> import torch, neoteny
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))
    >>> injected = neoteny.prepare(model, PlasticityInjection(), torch.zeros(1, 3))
    >>> [name for name, _ in injected.named_buffers()][:2]
    ['injection.old.2.weight', 'injection.old.2.bias']
    >>> torch.equal(injected(torch.ones(1, 3)), model(torch.ones(1, 3)))
    True
    """

    name: ClassVar[str] = "plasticity-injection"
    stage: ClassVar[Stage] = "reset"
    varies: ClassVar[tuple[str, ...]] = ("task",)
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {"task": (1, 2, 5, 10)}
    memory: ClassVar[tuple[float, float]] = (2.0, 4.0)
    avoid: ClassVar[str] = (
        "Where plasticity is lost in front of the head, or is lost again later: the method acts once, on the head, and "
        "the three heads cost three times as much from then on."
    )

    task: int = 1
    after: int | None = None
    layers: int = 2
    head: str | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        require_count(self, "task", least=1)
        if self.after is not None:
            require_count(self, "after", least=1)
        require_count(self, "layers", least=2)

    @classmethod
    def contract(cls) -> Contract:
        """Active methods and inactive ones, for `neoteny.testing`."""
        return [cls(), cls(after=5)], [cls(after=10**6)]

    def excludes(self, other: Method) -> str | None:
        """Methods that change what the frozen heads read, or what they are added to."""
        if other.resets_units or other.name == "fire":
            return "the frozen heads read what would be made new or projected, which would change the output"
        if other.name == "head-reset":
            return "the frozen head would still be added to a head that was reset"
        if other.stage == "average":
            return "the average of the heads before and after the injection is neither of the two"
        return None

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """A copy whose head has two frozen copies."""
        import copy

        from torch import nn

        from neoteny.nn.surgery.injection import InjectedChain, inject_into

        model = copy.deepcopy(model)
        if self.head is not None and self.head not in dict(model.named_modules()):
            raise UnknownNameError(self.head, [name for name, _ in model.named_modules() if name], "submodule")
        path, start = (self._last_layers(model, example_inputs)) if self.head is None else (self.head, 0)
        head = model.get_submodule(path)
        _refuse(model, list(head.children())[start:] if _is_chain(head) else [head])
        if not isinstance(head, nn.Sequential) or not _is_chain(head):
            _require_one_call(model, head, example_inputs)
            inject_into(head)
            return model
        injected = InjectedChain(head, start)
        if not path:
            return injected
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, injected)
        return model

    def _last_layers(self, model: nn.Module, example_inputs: Any) -> tuple[str, int]:
        """The name of the module that the head is in, and the number of its layer that the head begins with."""
        path, module = "", model
        while not _is_chain(module):
            inner = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
            if len(inner) != 1 or module._parameters:
                return self._submodule(model, example_inputs), 0
            path, module = f"{path}.{inner[0][0]}".lstrip("."), inner[0][1]
        children = list(module.children())
        count, start = 0, len(children)
        for child in reversed(children):
            if count >= self.layers:
                break
            count, start = count + _weighted(child), start - 1
        if 1 < count < self.layers:
            raise NetworkError(
                f"{type(model).__name__} has {count} layers, fewer than layers = {self.layers}; give layers={count}."
            )
        return path, start

    def _submodule(self, model: nn.Module, example_inputs: Any) -> str:
        """The smallest submodule that has the last layers of a network that is no chain."""
        from neoteny.units.outputs import makers_of

        modules, last = dict(model.named_modules()), set[str]()
        for tower in makers_of(model, example_inputs).towers.values():
            layers = [name for name in tower if name in modules and _weighted(modules[name])]
            last |= set(layers[-self.layers :])
        path = last.pop() if (names := sorted(last)) else ""
        while path and not all(f"{name}.".startswith(f"{path}.") for name in names):
            path = path.rpartition(".")[0]
        if not path:
            raise NetworkError(
                f"The layers of {type(model).__name__} are no chain, an nn.Sequential, and its last layers "
                f"({', '.join(names)}) are not in a submodule of their own; put them in one, or name another one to "
                'inject plasticity into: PlasticityInjection(head="...").'
            )
        return path

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """`tasks` and `injections`, int32 `[]`: how many there have been."""
        import torch

        device = next(iter(tensors.values())).device
        return {name: torch.zeros((), dtype=torch.int32, device=device) for name in ("tasks", "injections")}

    def done(self, state: Tensors) -> str:
        """Whether the injection has come."""
        return "injected" if int(state["injections"]) else "not injected yet"

    @property
    def needs_tasks(self) -> bool:
        """Unless the number of updates is given."""
        return self.after is None

    def schedule(self, network: Network, seed: int) -> Periodic | None:
        """One column: 1 at every `after`-th update, of which the first one counts."""
        from neoteny.methods.shared.schedule import Periodic

        return None if self.after is None else Periodic(self.after)

    @property
    def starts_anew(self) -> bool:
        """It does."""
        return True

    @property
    def acts_always(self) -> bool:
        """Only where it is due."""
        return False

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """Inject after the chosen number of updates."""
        return state if due is None else self._inject(step, state, due[0] > 0)

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """Count the change of task; inject at the chosen one."""
        state = {**state, "tasks": state["tasks"] + 1}
        return self._inject(step, state, state["tasks"] == self.task) if self.after is None else state

    def _inject(self, step: Step, state: Tensors, when: Tensor) -> Tensors:
        import torch

        from neoteny.methods.shared.matrices import whole
        from neoteny.nn.surgery.injection import FROZEN, OLD
        from neoteny.units.random import fold_in

        when = when & (state["injections"] == 0)
        heads = [(name.replace(f"{OLD}.", "", 1), name) for name in step.tensors if f".{OLD}." in f".{name}"]
        for number, (name, old) in enumerate(heads):
            trained = fresh = whole(self, step, name)
            if name in step.network.initialisers:  # the others are not being trained
                drawn = step.network.initialisers[name].draw(fold_in(step.key, number), tuple(trained.shape))
                fresh = drawn.to(trained.dtype)
                step.make_parameter_new(name, fresh, when)
            for companion, value in ((old, trained), (old.replace(OLD, FROZEN, 1), fresh)):
                step.tensors[companion] = torch.where(when, value, step.tensors[companion])
        step.count_anew({name for name, _ in heads}, when)
        return {**state, "injections": state["injections"] + when.to(torch.int32)}


def _is_chain(module: nn.Module) -> bool:
    """Whether it calls its children one after another, and does nothing else."""
    from torch import nn

    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _weighted(module: nn.Module) -> int:
    """How many layers with weight matrices or kernels are in a module."""
    return sum(any(p.dim() > 1 for p in part.parameters(recurse=False)) for part in module.modules())


def _refuse(model: nn.Module, head: list[nn.Module]) -> None:
    """Refuse heads for which the rule has no effect, or whose copies would not give the same output."""
    from torch import nn

    if sum(map(_weighted, head)) < 2:
        raise SettingError(
            "PlasticityInjection: the head is a single linear layer, and a linear layer plus the change of another is "
            "a linear layer again, so only the optimizer's state would start anew; give a head of two layers or more."
        )
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd, nn.RNNBase)
    own = {id(p) for part in head for p in part.parameters()}
    times = [id(p) for _, p in model.named_parameters(remove_duplicate=False) if id(p) in own]
    unfit = next((type(m).__name__ for part in head for m in part.modules() if isinstance(m, kinds)), None)
    if unfit is None and len(times) > len(own):
        unfit = "weights that are used elsewhere as well"
    if unfit is not None:
        raise NetworkError(
            f"The head of {type(model).__name__} has {unfit}, so frozen copies of it would not give the same; choose a "
            "head without by `layers` or `head`."
        )


def _require_one_call(model: nn.Module, head: nn.Module, example_inputs: Any) -> None:
    """Refuse a head that the network does not call just once."""
    import copy

    import torch

    from neoteny.units.inputs import arguments_of

    calls: list[None] = []
    handle = head.register_forward_hook(lambda *_: calls.append(None))
    args, kwargs = arguments_of(copy.copy(example_inputs))
    training = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            model.eval()
            model(*args, **kwargs)
    finally:
        handle.remove()
        for module, was in training.items():
            module.training = was
    if len(calls) != 1:
        raise NetworkError(
            f"{type(model).__name__} calls its head {len(calls)} times; name a submodule that it calls once."
        )
