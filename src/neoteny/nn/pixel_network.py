"""The network of agents that learn from pixels: an encoder, values of actions, and what predicts the encoder's output.

Mnih et al., Nature 518, 2015; dueling: Wang et al., ICML 2016; distributions of returns: Bellemare, Dabney & Munos,
ICML 2017; self-prediction: Schwarzer et al., "Data-efficient reinforcement learning with self-predictive
representations", ICLR 2021.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neoteny.errors import SettingError, UnknownNameError
from neoteny.nn.encoders import ImpalaEncoder, NatureEncoder
from neoteny.nn.initialised import InitialisedModule, Scheme, initialisers_of

__all__ = ["PixelNetwork", "renormalised"]

Part = Literal["values", "outputs", "projections"]
ENCODERS = {"nature": NatureEncoder, "impala": ImpalaEncoder}


class PixelNetwork(InitialisedModule):
    """The values of actions of a stack of frames.

        z = encoder(x / 255),   p = W z + b,   h = relu(p),   outputs = head(h)

    A dueling head has the value of the state and the advantages side by side, as `neoteny.nn.Dueling`. With `atoms` the
    outputs are logits of the return's distribution over equally distant values, and q(s, a) is its expectation.

    For self-prediction the transition model predicts z of the next state from z and the action, step after step: two
    convolutions 3x3 with ReLU, of z and a map of ones for the action. What is compared is p of the prediction, through
    a linear predictor, with p of the state that came.

    Args:
        shape: of an image: channels (frames of a stack), height, width.
        actions: A.
        encoder: `nature` or `impala`.
        width: of the encoder.
        hidden: units of the hidden layer.
        dueling: whether the head is.
        atoms: K values of returns; 0: the outputs are q(s, a).
        v_min: the least of them.
        v_max: the greatest of them.
        predicts: whether there are a transition model and a predictor.
        renormalise: whether each image's z is moved and scaled to [0, 1].
        initialisation: as for `neoteny.nn.MLP`.

    Shapes: images [batch, channels * height * width], [batch, channels, height, width] or [batch, height, width,
    channels], bytes or numbers from 0 to 255; q(s, a) [batch, A]. See `forward` for the rest.

    Raises:
        SettingError: a size below 1, fewer than 0 atoms, or an image that is too small for the encoder.
        UnknownNameError: there is no such encoder or initialisation.

    >>> network = PixelNetwork((4, 84, 84), 6, width=0.25, atoms=51, predicts=True)
    >>> images = torch.zeros(2, 4, 84, 84, dtype=torch.uint8)
    >>> network(images).shape
    torch.Size([2, 6])
    >>> outputs, predictions = network(images, "outputs", torch.zeros(2, 5, dtype=torch.int64))
    >>> outputs.shape, predictions.shape, network(images, "projections").shape
    (torch.Size([2, 6, 51]), torch.Size([2, 5, 512]), torch.Size([2, 512]))

    Source: Schwarzer et al. 2021, Section 2.2; Schwarzer et al. 2023 and the authors' public `bigger_better_faster` for
    one hidden layer that is the projection as well.
    """

    support: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        actions: int,
        encoder: Literal["nature", "impala"] = "nature",
        width: float = 1.0,
        hidden: int = 512,
        dueling: bool = True,
        atoms: int = 0,
        v_min: float = -10.0,
        v_max: float = 10.0,
        predicts: bool = False,
        renormalise: bool = False,
        initialisation: Scheme = "xavier",
    ):
        super().__init__()
        if encoder not in ENCODERS:
            raise UnknownNameError(encoder, ENCODERS, "encoder")
        if atoms < 0:
            raise SettingError(f"atoms = {atoms}: give how many values returns have, or 0 for none.")
        if min(*shape, actions, hidden) < 1:
            raise SettingError(
                f"images of {shape}, {actions} actions, {hidden} hidden units: sizes must be at least 1."
            )
        self.shape, self.actions, self.dueling, self.atoms, self.renormalise = (
            shape,
            actions,
            dueling,
            atoms,
            renormalise,
        )
        self.encoder = ENCODERS[encoder](shape[0], width)
        try:
            with torch.no_grad():
                side = self.encoder(torch.zeros(1, *shape)).shape[1:]
        except RuntimeError:
            raise SettingError(
                f"images of {shape[1]} x {shape[2]} pixels are too small for the convolutions of encoder = "
                f"{encoder!r}: give larger ones, 84 x 84 as usual, or encoder = 'impala'."
            ) from None
        self.projection = nn.Linear(math.prod(side), hidden)
        self.head = nn.Linear(hidden, (actions + dueling) * max(atoms, 1))
        if predicts:
            maps = self.encoder.maps
            self.transition = nn.Sequential(
                nn.Conv2d(maps + actions, maps, 3, padding=1), nn.ReLU(), nn.Conv2d(maps, maps, 3, padding=1), nn.ReLU()
            )
            self.predictor = nn.Linear(hidden, hidden)
        if atoms:
            self.register_buffer("support", torch.linspace(v_min, v_max, atoms))
        self.initialisers = {}
        for owner, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                drawn = initialisers_of(module, initialisation, 1.0)
                self.initialisers |= {f"{owner}.{name}": how for name, how in drawn.items()}
        self.reset_parameters()

    def forward(self, images: Tensor, part: Part = "values", ahead: Tensor | None = None):
        """What a phase asks for.

        Args:
            images: stacks of frames.
            part: `values`: q(s, a), [batch, A]. `outputs`: the head's outputs, [batch, A] or with atoms
                [batch, A, atoms], and the predictions. `projections`: p, [batch, hidden].
            ahead: for `outputs`: the actions of the next steps, int64 [batch, K]; the predictions of p after each of
                them are [batch, K, hidden]. None: there are none.
        """
        z = self.encoded(images)
        p = self.projection(z.flatten(1))
        if part == "projections":
            return p
        outputs = self.outputs(F.relu(p))
        if part == "values":
            return self.expected(outputs)
        return outputs, None if ahead is None else self._predicted(z, ahead)

    def encoded(self, images: Tensor) -> Tensor:
        """The encoder's outputs, [batch, maps, height, width]."""
        channels, *sides = self.shape
        if images.dim() == 2:
            images = images.unflatten(1, self.shape)
        elif images.shape[1] != channels and images.shape[1:] == (*sides, channels):
            images = images.permute(0, 3, 1, 2)
        z = self.encoder(images.to(self.projection.weight.dtype) / 255)
        return renormalised(z) if self.renormalise else z

    def outputs(self, h: Tensor) -> Tensor:
        """The head's outputs for the hidden layer, [batch, A] or [batch, A, atoms]."""
        found = self.head(h)
        if self.atoms:
            found = found.unflatten(-1, (-1, self.atoms))
        if not self.dueling:
            return found
        better = found[:, 1:]
        return found[:, :1] + better - better.mean(1, keepdim=True)

    def expected(self, outputs: Tensor) -> Tensor:
        """q(s, a) of the outputs."""
        return outputs.softmax(-1) @ self.support if self.atoms else outputs

    def _predicted(self, z: Tensor, ahead: Tensor) -> Tensor:
        found, side = [], z.shape[-2:]
        numbers = torch.arange(self.actions, device=z.device)
        for step in range(ahead.shape[1]):
            taken = (ahead[:, step, None] == numbers).to(z.dtype)
            z = self.transition(torch.cat([z, taken[:, :, None, None].expand(-1, -1, *side)], 1))
            if self.renormalise:
                z = renormalised(z)
            found.append(z.flatten(1))
        together = torch.stack(found, 1).flatten(0, 1)
        return self.predictor(self.projection(together)).unflatten(0, (len(z), -1))


def renormalised(z: Tensor) -> Tensor:
    """(z - min z) / (max z - min z + 1e-5), over all numbers of each example.

    >>> renormalised(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[0.0000, 0.5000, 1.0000]])

    Source: Schrittwieser et al., "MuZero", Nature 588, 2020, Appendix G.
    """
    flat = z.flatten(1)
    least, greatest = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    return ((flat - least) / (greatest - least + 1e-5)).view_as(z)
