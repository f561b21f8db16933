"""Names of methods: no method reads like a module, and the old names of those that did still work, with a warning."""

from __future__ import annotations

import pytest
import torch

import neoteny
from neoteny import methods
from neoteny.nn import activation_modules
from neoteny.registry import METHODS


@pytest.mark.parametrize("package", [neoteny, methods])
@pytest.mark.parametrize("old", methods.RENAMED)
def test_an_old_name_is_the_new_class_and_warns(package, old):
    new = methods.RENAMED[old]
    with pytest.warns(FutureWarning, match=f"{package.__name__}.{old} is now called {new}"):
        found = getattr(package, old)
    assert found is getattr(package, new)
    assert old not in dir(package)


def test_no_method_has_the_name_of_a_module():
    modules = {*dir(torch.nn), *neoteny.nn.__all__, *activation_modules.__all__}
    assert not modules & {entry.load().__name__ for entry in METHODS.values()}
