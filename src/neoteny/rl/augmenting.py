"""Augmented images: random shifts, and noise in the brightness.

Kostrikov, Yarats & Fergus, "Image augmentation is all you need", ICLR 2021 (DrQ); the brightness: Schwarzer et al.,
ICLR 2021 (SPR).
"""

from __future__ import annotations

import torch
from torch import Tensor

from neoteny.units import random

__all__ = ["augmented"]


def augmented(images: Tensor, key: Tensor, shift: int = 4, intensity: float = 0.05) -> Tensor:
    """Each image moved by whole pixels, with its border repeated, and multiplied by 1 + s e.

    Both offsets are uniform on -shift .. shift, and e is normal, clipped to [-2, 2]; they are drawn once for all
    channels of an image, so that the frames of a stack move together.

    Args:
        images: [B, channels, height, width], numbers of any type.
        key: what the draws are a pure function of.
        shift: by up to how many pixels; 0: images stay where they are.
        intensity: s; 0: the brightness stays as it is.

    Returns:
        float32 [B, channels, height, width]; float64 of such images.

    >>> image = torch.arange(9.0).reshape(1, 1, 3, 3)
    >>> augmented(image, random.key(1), shift=1, intensity=0.0)[0, 0]
    tensor([[4., 5., 5.],
            [7., 8., 8.],
            [7., 8., 8.]])

    Source: Kostrikov et al. 2021, Section 3.1 (of the padded image a crop); Schwarzer et al. 2021, Appendix C.
    """
    count, _, height, width = images.shape
    found = images
    if shift:
        lots = random.uniform(random.fold_in(key, 0), (count, 2)) * (2 * shift + 1)
        moved = lots.ceil().long() - 1 - shift  # lots are above 0, and at most the factor
        rows = (torch.arange(height, device=images.device) + moved[:, :1]).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) + moved[:, 1:]).clamp(0, width - 1)
        places = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).flatten(1)
        found = images.flatten(2).gather(2, places.unsqueeze(1).expand(-1, images.shape[1], -1)).view_as(images)
    found = found if found.dtype == torch.float64 else found.float()
    if intensity:
        noise = random.normal(random.fold_in(key, 1), (count, 1, 1, 1)).clamp(-2, 2)
        found = found * (1 + intensity * noise).to(found.dtype)
    return found
