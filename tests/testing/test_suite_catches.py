"""Every check can fail: a method that breaks one promise fails that check, and no other."""

from __future__ import annotations

import pytest

from neoteny.errors import ContractError
from neoteny.testing import MODELS, OPTIMIZERS, check_method, checks
from testing import broken


def small(cls):
    """One network, and momentum or the optimizer with which the promise is seen to be broken."""
    return {"models": [MODELS["mlp"]], "optimizers": [OPTIMIZERS[getattr(cls, "optimizer", "momentum")]]}


@pytest.fixture(autouse=True)
def _hooks_come_off():
    yield
    for handle in broken.HANDLES:
        handle.remove()
    broken.HANDLES.clear()


@pytest.mark.parametrize("cls", broken.BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_named(cls):
    with pytest.raises(ContractError) as error:
        check_method(cls(), inactive=cls(rate=0.0), **small(cls))
    assert error.value.report.broken == [cls.__doc__], str(error.value)


def test_every_check_can_fail():
    assert {cls.__doc__ for cls in broken.BROKEN} == set(checks())


def test_a_sound_method_passes():
    report = check_method(broken.Sound(), inactive=broken.Sound(rate=0.0), **small(broken.Sound))
    assert not report.failures
    assert set(report.trials) == set(checks())
