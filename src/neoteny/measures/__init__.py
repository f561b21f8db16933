"""Measures of features and weights as pure functions, a fixed probe set, and a check-up of a network.

The literature uses one word for different things. Here each name has one definition, and the axes of figures carry
these names. Functions are imported on first use (PEP 562), so that reading `FEATURE_MEASURES` does not import torch.
The check-up is `neoteny.diagnose`; `neoteny.Monitor` repeats it during training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neoteny.lazy import exports

if TYPE_CHECKING:
    from neoteny.measures.catalogue import FEATURE_MEASURES as FEATURE_MEASURES
    from neoteny.measures.catalogue import WEIGHT_MEASURES as WEIGHT_MEASURES
    from neoteny.measures.catalogue import of_features as of_features
    from neoteny.measures.checkup import LayerReport as LayerReport
    from neoteny.measures.checkup import Report as Report
    from neoteny.measures.monitor import Monitor as Monitor
    from neoteny.measures.probe import probe_set as probe_set
    from neoteny.measures.ranks import approx_rank_99 as approx_rank_99
    from neoteny.measures.ranks import effective_rank as effective_rank
    from neoteny.measures.ranks import srank_99 as srank_99
    from neoteny.measures.ranks import stable_rank as stable_rank
    from neoteny.measures.symptoms import SYMPTOMS as SYMPTOMS
    from neoteny.measures.symptoms import Finding as Finding
    from neoteny.measures.symptoms import PlasticityLossWarning as PlasticityLossWarning
    from neoteny.measures.symptoms import Symptom as Symptom
    from neoteny.measures.trainable import Trainability as Trainability
    from neoteny.measures.trainable import trainability as trainability
    from neoteny.measures.units import dead_units as dead_units
    from neoteny.measures.units import dormant_score as dormant_score
    from neoteny.measures.units import dormant_units as dormant_units
    from neoteny.measures.weights import distance_from_init as distance_from_init
    from neoteny.measures.weights import gradient_norm as gradient_norm
    from neoteny.measures.weights import weight_change as weight_change
    from neoteny.measures.weights import weight_magnitude as weight_magnitude

_HOME = {
    "FEATURE_MEASURES": "catalogue",
    "WEIGHT_MEASURES": "catalogue",
    "of_features": "catalogue",
    "LayerReport": "checkup",
    "Report": "checkup",
    "Monitor": "monitor",
    "SYMPTOMS": "symptoms",
    "Finding": "symptoms",
    "PlasticityLossWarning": "symptoms",
    "Symptom": "symptoms",
    "Trainability": "trainable",
    "trainability": "trainable",
    "probe_set": "probe",
    "srank_99": "ranks",
    "approx_rank_99": "ranks",
    "effective_rank": "ranks",
    "stable_rank": "ranks",
    "dead_units": "units",
    "dormant_units": "units",
    "dormant_score": "units",
    "weight_magnitude": "weights",
    "weight_change": "weights",
    "distance_from_init": "weights",
    "gradient_norm": "weights",
}

__all__ = [
    "FEATURE_MEASURES",
    "SYMPTOMS",
    "WEIGHT_MEASURES",
    "Finding",
    "LayerReport",
    "Monitor",
    "PlasticityLossWarning",
    "Report",
    "Symptom",
    "Trainability",
    "approx_rank_99",
    "dead_units",
    "distance_from_init",
    "dormant_score",
    "dormant_units",
    "effective_rank",
    "gradient_norm",
    "of_features",
    "probe_set",
    "srank_99",
    "stable_rank",
    "trainability",
    "weight_change",
    "weight_magnitude",
]

__getattr__, __dir__ = exports(__name__, _HOME)
