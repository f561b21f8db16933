"""Every registered method keeps the contract; a new entry of the registry is tested without a word here."""

from __future__ import annotations

import pytest

from neoteny.methods import Method
from neoteny.registry import METHODS
from neoteny.testing import check_method, checks


@pytest.mark.parametrize("name", METHODS)
def test_a_registered_method_keeps_its_contract(name):
    cls = METHODS[name].load()
    active, inactive = cls.contract()
    words = f"{cls.__name__}.contract() must return methods that act within ten updates, and ones of strength zero"
    assert active, words
    assert inactive, words
    assert all(isinstance(method, cls) for method in (*active, *inactive))
    report = check_method(cls)
    assert set(report.trials) == set(checks())
    assert not report.left_out


def test_methods_as_such_declare_nothing():
    assert Method.contract() == ((), ())
