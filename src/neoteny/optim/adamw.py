"""AdamW (Loshchilov and Hutter 2019): Adam with a weight decay that does not depend on the gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neoteny.optim.adam import Adam

__all__ = ["AdamW"]


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """theta <- (1 - alpha * weight_decay) theta, then Adam's update.

    It is `Adam` with a weight decay, by default torch's 0.01.

    Args:
        step_size: alpha.
        betas: as Adam's.
        eps: as Adam's.
        weight_decay: each update takes alpha * weight_decay of a weight off.

    >>> import torch
    >>> adam, tensors = AdamW(step_size=0.1, weight_decay=0.5), {"w": torch.tensor([1.0])}
    >>> adam.update(tensors, {"w": torch.tensor([3.0])}, adam.init(tensors), {"w": torch.tensor(1)})
    >>> tensors["w"]  # 0.95 - 0.1
    tensor([0.8500])
    """

    weight_decay: float = 0.01
    name: ClassVar[str] = "adamw"
    varies: ClassVar[tuple[str, ...]] = ("step_size", "weight_decay")
