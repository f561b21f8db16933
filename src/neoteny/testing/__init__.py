"""The contract that every method keeps, as checks that anybody can run on a method of their own.

    neoteny.testing.check_method(MyMethod)

Names are imported on first use (PEP 562).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.testing.models import MODELS as MODELS
    from neoteny.testing.models import Model as Model
    from neoteny.testing.optimizers import OPTIMIZERS as OPTIMIZERS
    from neoteny.testing.optimizers import OptimizerCase as OptimizerCase
    from neoteny.testing.suite import ContractReport as ContractReport
    from neoteny.testing.suite import check_method as check_method
    from neoteny.testing.suite import checks as checks

_HOME = {
    "MODELS": "models",
    "OPTIMIZERS": "optimizers",
    "Model": "models",
    "OptimizerCase": "optimizers",
    "ContractReport": "suite",
    "check_method": "suite",
    "checks": "suite",
}

__all__ = [  # spelt out for type checkers; a test holds it together with `_HOME`
    "MODELS",
    "OPTIMIZERS",
    "ContractReport",
    "Model",
    "OptimizerCase",
    "check_method",
    "checks",
]

__getattr__, __dir__ = exports(__name__, _HOME)
