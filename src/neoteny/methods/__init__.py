"""Interventions that keep a network able to learn, one a file. Names are imported on first use (PEP 562)."""

from __future__ import annotations

from neoteny.lazy import exports

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

__getattr__, __dir__, __all__ = exports(__name__, __file__, RENAMED)
