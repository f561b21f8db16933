"""What a method is: a frozen record of settings, a rule of pure tensor functions, and a schedule known to the host.

A method is written once and called in two ways. `neoteny.attach` calls its rule from hooks of a user's optimizer, with
the network's own tensors. The laboratory calls the same rule inside a compiled graph, mapped over a stack of runs. So a
rule never writes into a tensor, never reads a value from the device, and no shape in it depends on data: it puts new
tensors into the `Step` and returns its new state. Settings named in `varies` may be 0-dimensional tensors there.
"""

from __future__ import annotations

import copy
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from neoteny.kinds import Settings
from neoteny.methods.step import OnReference, Step, Tensors
from neoteny.notebook import table

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from neoteny.units.records import Network

__all__ = ["Contract", "Method", "OnReference", "Schedule", "Stage", "Step", "Tensors"]

Stage = Literal["architecture", "regulariser", "optimizer", "perturbation", "projection", "reset", "average"]
"""Where a method belongs among others; see `neoteny.methods.shared.order`."""
Contract = tuple[Sequence["Method"], Sequence["Method"]]
"""What `Method.contract` declares: active methods, and inactive ones, of strength zero."""

_SHORT = reprlib.Repr()
_SHORT.maxother = _SHORT.maxstring = 100


class Schedule(Protocol):
    """When a method's resets are due, known on the host without looking at the device: one network's clock."""

    def take(self, steps: int) -> np.ndarray:
        """How much is due at each of the next optimizer steps, int `[steps, columns]`; all 0 where nothing is."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that changes, in plain numbers, lists and dicts."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...


@dataclass(frozen=True, kw_only=True)
class Method(Settings):
    """The base of every method: it does nothing at any of the places where a method may act.

    Subclasses are frozen dataclasses of settings, validated in `__post_init__`.
    """

    name: ClassVar[str] = ""
    varies: ClassVar[tuple[str, ...]] = ()
    """Numeric settings that may differ between the runs of a stack."""
    needs_units: ClassVar[bool] = False
    """Whether it has no effect on a network without hidden units."""
    needs_examples: ClassVar[bool] = True
    """Whether it must know more of the network than its parameters, their initialisation and which are of norms."""
    resets_units: ClassVar[bool] = False
    reads_gradients: ClassVar[bool] = False
    """Whether `intervene` reads `Step.grads`."""
    redirects: ClassVar[bool] = False
    """Whether `regularise` maps the gradients by `redirect`, which optimizers then follow wherever they lead."""
    needs_reference: ClassVar[bool] = False
    """Whether it needs the network on a reference batch, other than the one trained on (`Step.on_reference`)."""
    draws_before: ClassVar[bool] = False
    """Whether `regularise` takes the random numbers that `draws` announces, before the optimizer's step."""
    stage: ClassVar[Stage] = "regulariser"
    grid: ClassVar[Mapping[str, tuple[float, ...]]] = {}
    """Values of settings in `varies` to try when the method is tuned, in every combination."""
    memory: ClassVar[tuple[float, float]] = (0.0, 0.0)
    """What it keeps between steps, and what a step allocates in addition at most, both as multiples of the memory of
    the network's parameters. Memory that grows only with the number of units is not counted."""
    avoid: ClassVar[str] = ""
    """When not to use it."""

    @property
    def observes(self) -> frozenset[str]:
        """Which statistics it reads from `Step.features`, out of `neoteny.units.activations.STATISTICS`."""
        return frozenset()

    def prepare(self, model: nn.Module, example_inputs: Any) -> nn.Module:
        """The network as this method needs it, before an optimizer is made of its parameters; a copy if it differs."""
        return model

    @property
    def prepares(self) -> bool:
        """Whether it changes the network before training (`neoteny.prepare`)."""
        return type(self).prepare is not Method.prepare

    def excludes(self, other: Method) -> str | None:
        """Why this method and another one cannot act on one network; None where they can."""
        return None

    def init(self, network: Network, tensors: Tensors) -> Tensors:
        """The state before the first step: tensors by name."""
        return {}

    def schedule(self, network: Network, seed: int) -> Schedule | None:
        """The clock of its resets; None for a method that acts in the same way at every step. `seed` is the run's."""
        return None

    def regularise(self, step: Step, state: Tensors) -> Tensors:
        """Before the optimizer's step: may replace gradients. Returns the new state."""
        return state

    def redirect(self, step: Step, state: Tensors, grads: Tensors) -> Tensors:
        """The changed ones among gradients of anything that an optimizer follows: a linear map, with the new state.

        `regularise` applies it to the loss's gradients. It is applied to a prediction's gradients, too, and to those of
        the factors of the curvature, so that traces and step sizes are of the direction in which weights really go.
        """
        return {}

    def changes_besides(self, network: Network, tensors: Tensors) -> set[str]:
        """The parameters in which the rule changes entries of other units than those that it makes new."""
        return set()

    def intervene(self, step: Step, state: Tensors, due: Tensor | None) -> Tensors:
        """After the optimizer's step: may replace parameters and optimizer state. Returns the new state.

        `due` is the schedule's row for this step, int `[columns]`, or None where the host knows that nothing is due.
        """
        return state

    def at_task(self, step: Step, state: Tensors) -> Tensors:
        """At a task boundary, before the new task's first step. Returns the new state."""
        return state

    def evaluated(self, tensors: Tensors, state: Tensors) -> Tensors:
        """The parameters and buffers with which the network is to be evaluated, in place of those that learn."""
        return tensors

    def draws(self, network: Network, tensors: Tensors) -> int:
        """How many standard normal numbers the method takes from `Step.key` at every step.

        `intervene` takes them, or `regularise` where `draws_before` says so.
        """
        return 0

    @property
    def needs_tasks(self) -> bool:
        """Whether with these settings it acts as it should only where it is told of changes of task."""
        return False

    @property
    def starts_anew(self) -> bool:
        """Whether it replaces whole parameters where it is due; target networks then begin as copies of them again."""
        return False

    @property
    def coupled_decay(self) -> float | None:
        """The strength of the coupled L2 on all parameters that `regularise` is; None if it is something else."""
        return 0.0 if type(self).regularise is Method.regularise else None

    @property
    def needs_loss(self) -> bool:
        """Whether it reads `Step.loss`, which a method that rides on a user's optimizer never sees."""
        return False

    @property
    def acts_always(self) -> bool:
        """Whether `intervene` does anything in a step in which nothing is due."""
        return type(self).intervene is not Method.intervene

    def bind(self, values: Mapping[str, Any]) -> Method:
        """The same method with some settings replaced by values that are not checked (tensors of one run)."""
        bound = copy.copy(self)
        for name, value in values.items():
            object.__setattr__(bound, name, value)
        return bound

    def inert(self) -> str | None:
        """Why these settings never do anything, if that is so."""
        return None

    def settings(self) -> dict[str, Any]:
        """The settings as a plain dict."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def done(self, state: Tensors) -> str:
        """What it has done so far, in words, read from its state; "" where it keeps no count."""
        counts = [value for key, value in state.items() if key.endswith("/replaced")]
        return f"{sum(map(int, counts)):,} units replaced" if counts else ""

    def shown(self, settings: Mapping[str, Any]) -> str:
        """The class with some of its settings; long values are cut."""
        return f"{type(self).__name__}({', '.join(f'{key}={_SHORT.repr(value)}' for key, value in settings.items())})"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__repr__" not in vars(cls):  # else `dataclass` writes one that shows values of any length
            cls.__repr__ = Method.__repr__

    def __repr__(self) -> str:
        return self.shown(self.settings())

    def _repr_html_(self) -> str:
        return table(f"{type(self).__name__} ({self.name})", ("setting", "value"), self.settings().items())

    @classmethod
    def contract(cls) -> Contract:
        """What `neoteny.testing` tries: methods that act within ten updates, and inactive ones of strength zero."""
        return (), ()
