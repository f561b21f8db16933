"""What keeps the weights of a linear prediction and changes them: any rule on vectors, or SwiftTD's kernel."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from neoteny import compiling
from neoteny.errors import CheckpointError, SettingError
from neoteny.linear.features import dense, sparse, twice
from neoteny.optim import Optimizer, SwiftTD
from neoteny.optim.tidbd import FOLLOWING

__all__ = ["Engine", "RuleEngine", "SwiftEngine"]

SOURCE = Path(__file__).with_name("swift_td.cpp")
_ROWS = ("weight", "log_step", "h", "h_before", "following", "trace", "history", "slope", "injected", "change", "left")
_HOME = np.dtype([("weight", "f8"), ("log_step", "f8"), ("h", "f8"), ("clears", "i8"), ("slot", "i4"), ("seen", "i4")])


class Engine(Protocol):
    """The weights of one prediction, and how they learn from transitions."""

    def predict(self, x: Any) -> float:
        """The prediction for features."""
        ...

    def step(self, x: Any, cumulant: float, discount: float, decay: float) -> float:
        """Learn from the transition to x; returns the prediction for x that was made before."""
        ...

    def weights(self) -> np.ndarray:
        """A copy of the weights, `[n]`."""
        ...

    def step_sizes(self) -> np.ndarray | None:
        """The step size of each weight, `[n]`; None where all have one in common."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        ...


class RuleEngine:
    """Any rule of `neoteny.optim` that reads a TD error, in float64; each step costs all features.

    Args:
        features: n.
        rule: the rule.
    """

    def __init__(self, features: int, rule: Optimizer):
        import torch

        self._features, self._rule = features, rule
        self._tensors = {"weight": torch.zeros(features, dtype=torch.float64)}
        self._state = rule.init(self._tensors)
        self._before: Any = None
        self._decay = 0.0
        self._steps = 0

    def predict(self, x: Any) -> float:
        """The prediction for features."""
        return float(self._tensors["weight"].numpy() @ dense(x, self._features))

    def step(self, x: Any, cumulant: float, discount: float, decay: float) -> float:
        """Learn from the transition to x; returns the prediction for x that was made before."""
        import torch

        # a copy: it is kept for the next step, and the caller may write to the array
        now, weight = torch.tensor(dense(x, self._features)), self._tensors["weight"]
        prediction = weight @ now
        if self._before is not None:
            self._steps += 1
            signals: dict[str, Any] = {
                "delta": cumulant + discount * prediction - weight @ self._before,
                "trace_decay": torch.tensor(self._decay, dtype=torch.float64),
                "ended": torch.tensor(decay == 0),
            }
            if FOLLOWING in self._rule.needs():
                signals[FOLLOWING] = {"weight": discount * now}
            count = {"weight": torch.tensor(self._steps)} if self._rule.counts else {}
            self._rule.update(self._tensors, {"weight": self._before}, self._state, count, signals)
        self._before, self._decay = now, decay
        return float(prediction)

    def weights(self) -> np.ndarray:
        """A copy of the weights, `[n]`."""
        return self._tensors["weight"].numpy().copy()

    def step_sizes(self) -> np.ndarray | None:
        """The step size of each weight, `[n]`; None where all have one in common."""
        found = self._rule.step_sizes(self._state["weight"])
        return None if found is None else found.numpy().copy()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        own = {name: value.clone() for name, value in self._state["weight"].items()}
        before = None if self._before is None else self._before.clone()
        return {"weight": self.weights(), "state": own, "before": before, "decay": self._decay, "steps": self._steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            CheckpointError: it belongs to another rule or another number of features.
        """
        import torch

        _require_same(state["state"], self._state["weight"])
        _require_length(state["weight"], self._features)
        self._tensors = {"weight": torch.from_numpy(np.array(state["weight"]))}
        self._state = {"weight": {name: value.clone() for name, value in state["state"].items()}}
        self._before = None if state["before"] is None else state["before"].clone()
        self._decay, self._steps = state["decay"], state["steps"]


class _Learner(ctypes.Structure):
    """`Learner` in swift_td.cpp."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("home", "member", "slots")),
        *((name, ctypes.c_int64) for name in ("features", "eligible", "clears", "step")),
        *((name, ctypes.c_double) for name in ("before", "drift", "meta_step_size", "log_bound", "log_least")),
        *((name, ctypes.c_double) for name in ("bound", "log_decay", "epsilon")),
        ("sparse_order", ctypes.c_int64),
    )


class SwiftEngine:
    """SwiftTD in C++: each step costs the features whose traces are alive.

    Args:
        features: n.
        rule: the settings of SwiftTD.
        epsilon: the traces of a feature that is not active any more are followed until they have decayed to this share.
    """

    def __init__(self, features: int, rule: SwiftTD, epsilon: float):
        self._made = features, rule, epsilon
        library = compiling.kernel(SOURCE)
        self._step, self._predict = library.neoteny_swift_td_step, library.neoteny_swift_td_predict
        self._predict.restype = ctypes.c_double
        self._features = features
        self._home = np.zeros(features, _HOME)
        first = min(max(rule.step_size, rule.least_step_size), rule.bound)
        self._home["log_step"], self._home["slot"] = math.log(first), -1
        self._member = np.zeros(features, np.int32)
        self._slots = np.zeros((len(_ROWS), features))  # untouched pages take no memory
        self._learner = _Learner(
            **{name: getattr(self, f"_{name}").ctypes.data for name in ("home", "member", "slots")},
            features=features,
            meta_step_size=rule.meta_step_size,
            log_bound=math.log(rule.bound),
            log_least=math.log(rule.least_step_size),
            bound=rule.bound,
            log_decay=math.log(rule.decay),
            epsilon=epsilon,
            sparse_order=int(rule.order == "sparse"),
        )
        self._at = ctypes.byref(self._learner)
        self._prediction = ctypes.c_double()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles have arrays of their own, which the kernel is told of."""
        return SwiftEngine, self._made, self.state_dict()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Go on from the state of the engine that was copied."""
        self.load_state_dict(state)

    def predict(self, x: Any) -> float:
        """The prediction for features."""
        indices, values = sparse(x, self._features)
        return self._predict(self._at, ctypes.c_int64(len(indices)), _address(indices), _address(values))

    def step(self, x: Any, cumulant: float, discount: float, decay: float) -> float:
        """Learn from the transition to x; returns the prediction for x that was made before.

        Raises:
            SettingError: a feature is given twice.
        """
        indices, values = sparse(x, self._features)
        refused = self._step(
            self._at,
            ctypes.c_int64(len(indices)),
            _address(indices),
            _address(values),
            ctypes.c_double(cumulant),
            ctypes.c_double(discount),
            ctypes.c_double(decay),
            ctypes.byref(self._prediction),
        )
        if refused:
            raise SettingError(twice(indices))
        return self._prediction.value

    def weights(self) -> np.ndarray:
        """A copy of the weights, `[n]`."""
        return self._gathered("weight")

    def step_sizes(self) -> np.ndarray:
        """The step size of each weight, `[n]`."""
        return np.exp(self._gathered("log_step"))

    def _gathered(self, name: str) -> np.ndarray:
        eligible, found = self._learner.eligible, self._home[name].copy()
        found[self._member[:eligible]] = self._slots[_ROWS.index(name), :eligible]
        return found

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on."""
        eligible = self._learner.eligible
        return {
            "home": self._home.copy(),
            "member": self._member[:eligible].copy(),
            "slots": self._slots[:, :eligible].copy(),
            **{name: getattr(self._learner, name) for name in ("eligible", "clears", "step", "before", "drift")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            CheckpointError: it belongs to another rule or another number of features.
        """
        _require_same(state, self.state_dict())
        _require_length(state["home"], self._features)
        eligible = int(state["eligible"])
        self._home[:], self._member[:eligible] = state["home"], state["member"]
        self._slots[:, :eligible] = state["slots"]
        for name in ("eligible", "clears", "step", "before", "drift"):
            setattr(self._learner, name, state[name])


def _address(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def _require_same(state: dict[str, Any], own: dict[str, Any]) -> None:
    if set(state) != set(own):
        raise CheckpointError(
            f"this state has {', '.join(sorted(state))}, and the learner's rule keeps {', '.join(sorted(own))}: "
            "build the learner with the rule that the state was saved under."
        )


def _require_length(array: np.ndarray, features: int) -> None:
    if len(array) != features:
        raise CheckpointError(
            f"this state has {len(array)} features, and the learner {features}: build it with as many as it was saved "
            "with."
        )
