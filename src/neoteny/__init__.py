"""Networks that go on learning: a PyTorch library and laboratory.

    import neoteny
    plasticity = neoteny.attach(model, optimizer, [neoteny.ContinualBackprop(replacement_rate=1e-4)], example_inputs=x)
    report = neoteny.diagnose(model, probe_inputs)
    stack = neoteny.lab.run("slowly-changing-regression", method="cbp", runs=10, scale="small")

Names are imported on first use (PEP 562): `import neoteny` alone imports neither torch nor anything else heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports
from neoteny.methods import RENAMED

if TYPE_CHECKING:
    from neoteny import benchmarks as benchmarks
    from neoteny import data as data
    from neoteny import envs as envs
    from neoteny import errors as errors
    from neoteny import lab as lab
    from neoteny import measures as measures
    from neoteny import methods as methods
    from neoteny import nn as nn
    from neoteny import optim as optim
    from neoteny import report as report
    from neoteny import rl as rl
    from neoteny import streams as streams
    from neoteny import testing as testing
    from neoteny import units as units
    from neoteny.attachment.attach import attach as attach
    from neoteny.attachment.plasticity import Plasticity as Plasticity
    from neoteny.errors import PlasticityWarning as PlasticityWarning
    from neoteny.measures.diagnose import diagnose as diagnose
    from neoteny.measures.monitor import Monitor as Monitor
    from neoteny.methods.architecture import WithBatchNorm as WithBatchNorm
    from neoteny.methods.architecture import WithCReLU as WithCReLU
    from neoteny.methods.architecture import WithDeepFourier as WithDeepFourier
    from neoteny.methods.architecture import WithDropout as WithDropout
    from neoteny.methods.architecture import WithIntervalDropout as WithIntervalDropout
    from neoteny.methods.architecture import WithLayerNorm as WithLayerNorm
    from neoteny.methods.architecture import WithSmoothLeaky as WithSmoothLeaky
    from neoteny.methods.base import Method as Method
    from neoteny.methods.c_chain import CChain as CChain
    from neoteny.methods.continual_backprop import ContinualBackprop as ContinualBackprop
    from neoteny.methods.continuous_partial_resets import ContinuousPartialResets as ContinuousPartialResets
    from neoteny.methods.dash import DASH as DASH
    from neoteny.methods.effective_rank import EffectiveRank as EffectiveRank
    from neoteny.methods.ema import EMA as EMA
    from neoteny.methods.fire import FIRE as FIRE
    from neoteny.methods.full_reset import FullReset as FullReset
    from neoteny.methods.hare_and_tortoise import HareAndTortoise as HareAndTortoise
    from neoteny.methods.head_reset import HeadReset as HeadReset
    from neoteny.methods.infer import InFeR as InFeR
    from neoteny.methods.l2 import L2 as L2
    from neoteny.methods.normalise_and_project import NormaliseAndProject as NormaliseAndProject
    from neoteny.methods.parseval import Parseval as Parseval
    from neoteny.methods.plasticity_injection import PlasticityInjection as PlasticityInjection
    from neoteny.methods.redo import ReDo as ReDo
    from neoteny.methods.regenerative import HuberInit as HuberInit
    from neoteny.methods.regenerative import L1Init as L1Init
    from neoteny.methods.regenerative import L2Init as L2Init
    from neoteny.methods.regrama import ReGraMa as ReGraMa
    from neoteny.methods.selective_reinitialisation import SelectiveReinitialisation as SelectiveReinitialisation
    from neoteny.methods.self_distillation import SelfDistillation as SelfDistillation
    from neoteny.methods.shared.combining import prepare as prepare
    from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb as ShrinkAndPerturb
    from neoteny.methods.snr import SelfNormalisedResets as SelfNormalisedResets
    from neoteny.methods.spectral import Spectral as Spectral
    from neoteny.methods.upgd import UPGD as UPGD
    from neoteny.methods.weight_clipping import WeightClipping as WeightClipping
    from neoteny.registry import register as register

__version__ = "0.1.0"

_HOME = {
    "WithBatchNorm": "methods.architecture",
    "WithLayerNorm": "methods.architecture",
    "WithDropout": "methods.architecture",
    "WithIntervalDropout": "methods.architecture",
    "WithSmoothLeaky": "methods.architecture",
    "WithDeepFourier": "methods.architecture",
    "WithCReLU": "methods.architecture",
    "SelfDistillation": "methods.self_distillation",
    "EMA": "methods.ema",
    "HareAndTortoise": "methods.hare_and_tortoise",
    "PlasticityInjection": "methods.plasticity_injection",
    "SelectiveReinitialisation": "methods.selective_reinitialisation",
    "ContinuousPartialResets": "methods.continuous_partial_resets",
    "SelfNormalisedResets": "methods.snr",
    "ReGraMa": "methods.regrama",
    "FIRE": "methods.fire",
    "NormaliseAndProject": "methods.normalise_and_project",
    "WeightClipping": "methods.weight_clipping",
    "DASH": "methods.dash",
    "UPGD": "methods.upgd",
    "InFeR": "methods.infer",
    "CChain": "methods.c_chain",
    "EffectiveRank": "methods.effective_rank",
    "Parseval": "methods.parseval",
    "Spectral": "methods.spectral",
    "HuberInit": "methods.regenerative",
    "L1Init": "methods.regenerative",
    "attach": "attachment.attach",
    "Method": "methods.base",
    "Plasticity": "attachment.plasticity",
    "PlasticityWarning": "errors",
    "prepare": "methods.shared.combining",
    "diagnose": "measures.diagnose",
    "Monitor": "measures.monitor",
    "L2": "methods.l2",
    "L2Init": "methods.regenerative",
    "ShrinkAndPerturb": "methods.shrink_and_perturb",
    "ContinualBackprop": "methods.continual_backprop",
    "ReDo": "methods.redo",
    "HeadReset": "methods.head_reset",
    "FullReset": "methods.full_reset",
    "register": "registry",
    "benchmarks": "benchmarks:",
    "data": "data:",
    "envs": "envs:",
    "errors": "errors:",
    "lab": "lab:",
    "measures": "measures:",
    "methods": "methods:",
    "nn": "nn:",
    "optim": "optim:",
    "report": "report:",
    "rl": "rl:",
    "streams": "streams:",
    "testing": "testing:",
    "units": "units:",
}

__all__ = [  # spelt out, as type checkers do not read `_HOME`; a test holds them together
    "DASH",
    "EMA",
    "FIRE",
    "L2",
    "UPGD",
    "CChain",
    "ContinualBackprop",
    "ContinuousPartialResets",
    "EffectiveRank",
    "FullReset",
    "HareAndTortoise",
    "HeadReset",
    "HuberInit",
    "InFeR",
    "L1Init",
    "L2Init",
    "Method",
    "Monitor",
    "NormaliseAndProject",
    "Parseval",
    "Plasticity",
    "PlasticityInjection",
    "PlasticityWarning",
    "ReDo",
    "ReGraMa",
    "SelectiveReinitialisation",
    "SelfDistillation",
    "SelfNormalisedResets",
    "ShrinkAndPerturb",
    "Spectral",
    "WeightClipping",
    "WithBatchNorm",
    "WithCReLU",
    "WithDeepFourier",
    "WithDropout",
    "WithIntervalDropout",
    "WithLayerNorm",
    "WithSmoothLeaky",
    "__version__",
    "attach",
    "benchmarks",
    "data",
    "diagnose",
    "envs",
    "errors",
    "lab",
    "measures",
    "methods",
    "nn",
    "optim",
    "prepare",
    "register",
    "report",
    "rl",
    "streams",
    "testing",
    "units",
]

__getattr__, __dir__ = exports(__name__, _HOME, RENAMED)
