"""Interventions that keep a network able to learn, one a file. Names are imported on first use (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.methods.architecture import WithBatchNorm as WithBatchNorm
    from neoteny.methods.architecture import WithCReLU as WithCReLU
    from neoteny.methods.architecture import WithDeepFourier as WithDeepFourier
    from neoteny.methods.architecture import WithDropout as WithDropout
    from neoteny.methods.architecture import WithIntervalDropout as WithIntervalDropout
    from neoteny.methods.architecture import WithLayerNorm as WithLayerNorm
    from neoteny.methods.architecture import WithSmoothLeaky as WithSmoothLeaky
    from neoteny.methods.base import Method as Method
    from neoteny.methods.base import Schedule as Schedule
    from neoteny.methods.base import Step as Step
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
    from neoteny.methods.shared.schedule import Periodic as Periodic
    from neoteny.methods.shared.schedule import Replacements as Replacements
    from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb as ShrinkAndPerturb
    from neoteny.methods.snr import SelfNormalisedResets as SelfNormalisedResets
    from neoteny.methods.spectral import Spectral as Spectral
    from neoteny.methods.upgd import UPGD as UPGD
    from neoteny.methods.weight_clipping import WeightClipping as WeightClipping

_HOME = {
    "WithBatchNorm": "architecture",
    "WithLayerNorm": "architecture",
    "WithDropout": "architecture",
    "WithIntervalDropout": "architecture",
    "WithSmoothLeaky": "architecture",
    "WithDeepFourier": "architecture",
    "WithCReLU": "architecture",
    "SelfDistillation": "self_distillation",
    "EMA": "ema",
    "HareAndTortoise": "hare_and_tortoise",
    "PlasticityInjection": "plasticity_injection",
    "SelectiveReinitialisation": "selective_reinitialisation",
    "ContinuousPartialResets": "continuous_partial_resets",
    "SelfNormalisedResets": "snr",
    "ReGraMa": "regrama",
    "FIRE": "fire",
    "NormaliseAndProject": "normalise_and_project",
    "WeightClipping": "weight_clipping",
    "DASH": "dash",
    "UPGD": "upgd",
    "InFeR": "infer",
    "CChain": "c_chain",
    "EffectiveRank": "effective_rank",
    "Parseval": "parseval",
    "Spectral": "spectral",
    "HuberInit": "regenerative",
    "L1Init": "regenerative",
    "ContinualBackprop": "continual_backprop",
    "FullReset": "full_reset",
    "HeadReset": "head_reset",
    "L2": "l2",
    "L2Init": "regenerative",
    "Method": "base",
    "Periodic": "shared.schedule",
    "ReDo": "redo",
    "Replacements": "shared.schedule",
    "Schedule": "base",
    "ShrinkAndPerturb": "shrink_and_perturb",
    "Step": "base",
}

RENAMED = {
    "BatchNorm": "WithBatchNorm",
    "LayerNorm": "WithLayerNorm",
    "Dropout": "WithDropout",
    "IntervalDropout": "WithIntervalDropout",
    "SmoothLeaky": "WithSmoothLeaky",
    "DeepFourier": "WithDeepFourier",
    "CReLU": "WithCReLU",
}
"""Old names, which read like modules of `torch.nn`: they work with a warning until the next version."""

__all__ = [  # spelt out for type checkers; a test holds it together with `_HOME`
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
    "NormaliseAndProject",
    "Parseval",
    "Periodic",
    "PlasticityInjection",
    "ReDo",
    "ReGraMa",
    "Replacements",
    "Schedule",
    "SelectiveReinitialisation",
    "SelfDistillation",
    "SelfNormalisedResets",
    "ShrinkAndPerturb",
    "Spectral",
    "Step",
    "WeightClipping",
    "WithBatchNorm",
    "WithCReLU",
    "WithDeepFourier",
    "WithDropout",
    "WithIntervalDropout",
    "WithLayerNorm",
    "WithSmoothLeaky",
]

__getattr__, __dir__ = exports(__name__, _HOME, RENAMED)
