"""Linear Sarsa(lambda): action values q(x, a) = w_a.x, and actions that are mostly the best.

The prediction is that of `LinearPredictor` on features of state and action: those of the state in the action's own
block, 0 in all others. With the rule SwiftTD this is Swift-Sarsa: each action has its weights, step sizes and traces;
an error changes those of all actions whose traces are alive, and only the chosen action's traces grow.
"""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from neoteny.checks import is_number
from neoteny.errors import CheckpointError, SettingError
from neoteny.linear.features import Sparse, sparse
from neoteny.linear.predictor import LinearPredictor
from neoteny.optim import Optimizer

__all__ = ["LinearSarsa"]


class LinearSarsa:
    """Sarsa(lambda) on linear action values, with epsilon-greedy actions; Swift-Sarsa by default.

    Args:
        features: n, features of a state.
        actions: how many actions there are.
        rule: as for `LinearPredictor`; SwiftTD by default.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1].
        exploration: the share of actions that are drawn at random.
        seed: of these draws.
        epsilon: as for `LinearPredictor`.

    Raises:
        SettingError: a setting out of range.

    >>> agent = LinearSarsa(1, actions=2, discount=0.0, exploration=0.2)
    >>> reward = 0.0
    >>> for _ in range(500):
    ...     action = agent.update([1.0], reward)
    ...     reward = float(action == 1)  # the second action is the better one
    >>> agent.values([1.0]).round(1)
    array([0., 1.])

    Source: Javed & Sutton, "Swift-Sarsa: fast and robust linear control", arXiv 2507.19539, 2025, Algorithm 1; for
    other rules van Seijen et al., JMLR 17, 2016, section 6.
    """

    def __init__(
        self,
        features: int,
        actions: int,
        rule: Optimizer | None = None,
        *,
        discount: float = 0.99,
        trace: float = 0.95,
        exploration: float = 0.1,
        seed: int = 0,
        epsilon: float = 1e-5,
    ):
        if not isinstance(actions, Integral) or actions < 1:
            raise SettingError(f"actions = {actions!r} is not a whole number >= 1; give how many there are.")
        if not (is_number(exploration) and 0 <= exploration <= 1):
            raise SettingError(f"exploration = {exploration!r} is not a share in [0, 1]; 0.1 is usual.")
        self.features, self.actions, self.exploration = features, actions, exploration
        self.predictor = LinearPredictor(
            features * actions, rule, discount=discount, trace=trace, epsilon=epsilon
        )  # refuses features that are no number
        self._random = np.random.default_rng(seed)

    def values(self, x: Any) -> np.ndarray:
        """q(x, a) of each action, `[actions]`.

        Raises:
            SettingError: another shape, or numbers that are not finite.
        """
        indices, values = sparse(x, self.features)
        return np.array([self.predictor.predict(self._block(indices, values, a)) for a in range(self.actions)])

    def act(self, x: Any) -> int:
        """An action for features: the best with probability 1 - exploration, else any; the first of equal ones.

        Raises:
            SettingError: another shape, or numbers that are not finite.
        """
        values = self.values(x)
        if self._random.random() < self.exploration:
            return int(self._random.integers(self.actions))
        return int(values.argmax())

    def update(self, x: Any, reward: Any, discount: float | None = None) -> int:
        """Choose the next action at features x, then learn from the last action's reward; returns the action.

        Args:
            x: features `[n]` or `Sparse`.
            reward: of the action before; that of the first call is not used.
            discount: gamma of this step, if it is another than usual: 0 where x begins a new episode.

        Raises:
            SettingError: another shape, or numbers that are not finite; nothing has been learned then.
        """
        action = self.act(x)
        self.predictor.update(self._block(*sparse(x, self.features), action), reward, discount)
        return action

    def _block(self, indices: np.ndarray, values: np.ndarray, action: int) -> Sparse:
        return Sparse(indices + action * self.features, values)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next steps depend on, the draws included."""
        return {"predictor": self.predictor.state_dict(), "random": self._random.bit_generator.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`.

        Raises:
            CheckpointError: it belongs to another rule or another number of features.
        """
        if set(state) != {"predictor", "random"}:
            raise CheckpointError(f"this state has {', '.join(sorted(state))}: it was not saved by LinearSarsa.")
        self.predictor.load_state_dict(state["predictor"])
        self._random.bit_generator.state = state["random"]
