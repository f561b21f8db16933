"""AdamW (Loshchilov and Hutter 2019): Adam whose weights also shrink by themselves, whatever the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from neoteny.optim.adam import Adam

__all__ = ["AdamW"]


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """theta <- (1 - alpha * weight_decay) theta, then Adam's update.

    It is `Adam` with a weight decay, torch's 0.01 unless said otherwise.

    Args:
        step_size: alpha.
        betas: as Adam's.
        eps: as Adam's.
        weight_decay: share of a weight that is taken off at each update, as a multiple of alpha.

    >>> import torch
    >>> adam, tensors = AdamW(step_size=0.1, weight_decay=0.5), {"w": torch.tensor([1.0])}
    >>> adam.update(tensors, {"w": torch.tensor([3.0])}, adam.init(tensors), {"w": torch.tensor(1)})
    >>> tensors["w"]  # 0.95 - 0.1
    tensor([0.8500])
    """

    weight_decay: float = 0.01
    name: ClassVar[str] = "adamw"
