"""Interventions that keep a network able to learn, one a file. Names are imported on first use (PEP 562)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.methods.base import Method as Method
    from neoteny.methods.base import Schedule as Schedule
    from neoteny.methods.base import Step as Step
    from neoteny.methods.batch_norm import BatchNorm as BatchNorm
    from neoteny.methods.c_chain import CChain as CChain
    from neoteny.methods.continual_backprop import ContinualBackprop as ContinualBackprop
    from neoteny.methods.continuous_partial_resets import ContinuousPartialResets as ContinuousPartialResets
    from neoteny.methods.crelu import CReLU as CReLU
    from neoteny.methods.dash import DASH as DASH
    from neoteny.methods.deep_fourier import DeepFourier as DeepFourier
    from neoteny.methods.dropout import Dropout as Dropout
    from neoteny.methods.effective_rank import EffectiveRank as EffectiveRank
    from neoteny.methods.ema import EMA as EMA
    from neoteny.methods.fire import FIRE as FIRE
    from neoteny.methods.full_reset import FullReset as FullReset
    from neoteny.methods.hare_and_tortoise import HareAndTortoise as HareAndTortoise
    from neoteny.methods.head_reset import HeadReset as HeadReset
    from neoteny.methods.huber_init import HuberInit as HuberInit
    from neoteny.methods.infer import InFeR as InFeR
    from neoteny.methods.interval_dropout import IntervalDropout as IntervalDropout
    from neoteny.methods.l1_init import L1Init as L1Init
    from neoteny.methods.l2 import L2 as L2
    from neoteny.methods.l2_init import L2Init as L2Init
    from neoteny.methods.layer_norm import LayerNorm as LayerNorm
    from neoteny.methods.normalise_and_project import NormaliseAndProject as NormaliseAndProject
    from neoteny.methods.parseval import Parseval as Parseval
    from neoteny.methods.plasticity_injection import PlasticityInjection as PlasticityInjection
    from neoteny.methods.redo import ReDo as ReDo
    from neoteny.methods.regrama import ReGraMa as ReGraMa
    from neoteny.methods.selective_reinitialisation import SelectiveReinitialisation as SelectiveReinitialisation
    from neoteny.methods.self_distillation import SelfDistillation as SelfDistillation
    from neoteny.methods.shared.schedule import Periodic as Periodic
    from neoteny.methods.shared.schedule import Replacements as Replacements
    from neoteny.methods.shrink_and_perturb import ShrinkAndPerturb as ShrinkAndPerturb
    from neoteny.methods.smooth_leaky import SmoothLeaky as SmoothLeaky
    from neoteny.methods.snr import SelfNormalisedResets as SelfNormalisedResets
    from neoteny.methods.spectral import Spectral as Spectral
    from neoteny.methods.upgd import UPGD as UPGD
    from neoteny.methods.weight_clipping import WeightClipping as WeightClipping

_HOME = {
    "BatchNorm": "batch_norm",
    "LayerNorm": "layer_norm",
    "Dropout": "dropout",
    "IntervalDropout": "interval_dropout",
    "SmoothLeaky": "smooth_leaky",
    "DeepFourier": "deep_fourier",
    "CReLU": "crelu",
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
    "HuberInit": "huber_init",
    "L1Init": "l1_init",
    "ContinualBackprop": "continual_backprop",
    "FullReset": "full_reset",
    "HeadReset": "head_reset",
    "L2": "l2",
    "L2Init": "l2_init",
    "Method": "base",
    "Periodic": "shared.schedule",
    "ReDo": "redo",
    "Replacements": "shared.schedule",
    "Schedule": "base",
    "ShrinkAndPerturb": "shrink_and_perturb",
    "Step": "base",
}

__all__ = [  # spelt out for type checkers; a test holds it together with `_HOME`
    "DASH",
    "EMA",
    "FIRE",
    "L2",
    "UPGD",
    "BatchNorm",
    "CChain",
    "CReLU",
    "ContinualBackprop",
    "ContinuousPartialResets",
    "DeepFourier",
    "Dropout",
    "EffectiveRank",
    "FullReset",
    "HareAndTortoise",
    "HeadReset",
    "HuberInit",
    "InFeR",
    "IntervalDropout",
    "L1Init",
    "L2Init",
    "LayerNorm",
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
    "SmoothLeaky",
    "Spectral",
    "Step",
    "WeightClipping",
]

__getattr__, __dir__ = exports(__name__, _HOME)
