"""Methods that break a promise about their strength or their settings."""

from __future__ import annotations

import torch

from neoteny.checks import require_count, require_fraction
from neoteny.errors import SettingError
from neoteny.methods.shared.schedule import Periodic
from testing.broken.sound import Sound


class Idle(Sound):
    """acts"""

    resets_units = False

    def regularise(self, step, state):
        return state

    def intervene(self, step, state, due):
        return state


class Explodes(Sound):
    """stays_finite"""

    def regularise(self, step, state):
        last = step.parameters()[-1]
        if self.rate and last in step.grads:
            step.grads[last] = step.grads[last] / torch.where(state["seen"] == 9, 0.0, 1.0)
        return super().regularise(step, state)


class NeverStill(Sound):
    """strength_zero_is_the_bare_optimizer"""

    def regularise(self, step, state):
        self.shrink(step)
        for name in step.grads:
            step.grads[name] = step.grads[name] + 1e-7
        return state


class SaysNothing(Sound):
    """warns_where_it_can_never_act"""

    def schedule(self, network, seed):
        return Periodic(self.period) if self.rate else None

    def inert(self):
        return None


class CriesWolf(Sound):
    """does_not_warn_where_it_acts"""

    def inert(self):
        return "I believe so"


class TakesAnyRate(Sound):
    """bad_settings_are_refused"""

    def __post_init__(self):
        require_count(self, "period", least=1)
        if not isinstance(self.rate, (int, float)) or self.rate > 1:
            require_fraction(self, "rate")


class HidesTheValue(Sound):
    """bad_settings_are_refused"""

    def __post_init__(self):
        require_count(self, "period", least=1)
        try:
            require_fraction(self, "rate")
        except SettingError as error:
            raise SettingError("HidesTheValue: rate is bad") from error
