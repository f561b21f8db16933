"""A picture of a small network: units as circles, connections as lines, and the error below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Moment", "NetworkPicture"]

_WHITE, _INK, _GREY = np.array([255, 255, 255]), np.array([38, 42, 51]), np.array([150, 156, 166])
_POSITIVE, _NEGATIVE = np.array([26, 111, 176]), np.array([194, 65, 12])
_BACKBONE, _FRINGE = np.array([20, 83, 45]), np.array([217, 140, 20])
_FINER = 2  # drawn so much larger, then shrunk: smooth lines
_FAINTEST = 0.2  # connections below this share of the largest weight are left out


@dataclass(frozen=True)
class Moment:
    """A network at a step.

    Attributes:
        step: examples learned from.
        error: in the last bin; NaN before its end.
        weights: of each layer, [out, in].
        step_sizes: of each layer, [out, in]; None where all weights have one in common.
        ages: of the units of each hidden layer, in steps.
        backbone: for the units of each hidden layer whether they belong to the backbone; None if nobody says.
    """

    step: int
    error: float
    weights: Sequence[NDArray[np.float64]]
    step_sizes: Sequence[NDArray[np.float64] | None]
    ages: Sequence[NDArray[np.float64]]
    backbone: Sequence[NDArray[np.bool_] | None]


@dataclass
class NetworkPicture:
    """Draws moments of one run, each with the errors up to it.

    A connection is blue if its weight is positive and red if it is negative, the stronger the larger the weight is
    beside the largest of its layer; the thicker the larger its step size, over two powers of ten. A unit of the
    backbone is green, one of the fringe yellow; where nobody tells them apart, units are grey. Young units are pale.

    Args:
        title: the first line.
        steps: of the whole run.
        size: width and height in pixels.
        metric: what the errors are.
    """

    title: str
    steps: int
    size: tuple[int, int] = (640, 480)
    metric: str = "loss"
    _errors: list[tuple[int, float]] = field(default_factory=list)
    _range: tuple[float, float] | None = None

    def __call__(self, moment: Moment) -> NDArray[np.uint8]:
        """The picture, [height, width, 3]."""
        width, height = (side * _FINER for side in self.size)
        image = Image.new("RGB", (width, height), "white")
        pen = ImageDraw.Draw(image)
        if np.isfinite(moment.error):
            self._errors.append((moment.step, moment.error))
        top, foot = round(0.1 * height), round(0.2 * height)
        self._write(pen, (0.02 * width, 0.015 * height), self.title, 0.034 * height, _INK)
        self._write(pen, (0.02 * width, 0.055 * height), self._told(moment), 0.028 * height, _GREY)
        self._legend(pen, width, height)
        self._network(pen, moment, (0.08 * width, top, 0.92 * width, height - foot))
        self._curve(pen, (0.08 * width, height - 0.85 * foot, 0.92 * width, height - 0.18 * foot))
        small = image.resize(self.size, Image.Resampling.LANCZOS)
        return np.asarray(small, dtype=np.uint8)

    def _told(self, moment: Moment) -> str:
        """The second line."""
        told = f"{moment.step:,} examples"
        if np.isfinite(moment.error):
            told += f", {self.metric} {moment.error:.3f}"
        known = [layer for layer in moment.backbone if layer is not None]
        if known:
            inside, units = sum(int(layer.sum()) for layer in known), sum(layer.size for layer in known)
            told += f"; backbone {inside} units, fringe {units - inside}"
        return told

    def _legend(self, pen: ImageDraw.ImageDraw, width: int, height: int) -> None:
        """What colours mean, young and old. So they all are in the first picture, whose palette a GIF keeps."""
        size = 0.028 * height
        for place, (word, colour) in enumerate((("backbone", _BACKBONE), ("fringe", _FRINGE))):
            x, y = (0.72 + 0.2 * place) * width, 0.018 * height
            for number, strength in enumerate((0.1, 0.4, 0.9)):
                spot = (x - (3 - number) * size, y + size / 2)
                self._circle(pen, spot, 0.45 * size, _blend_array(colour, strength), colour)
            self._write(pen, (x - 0.2 * size, y), word, size, _GREY)

    def _network(self, pen: ImageDraw.ImageDraw, moment: Moment, box: tuple[float, float, float, float]) -> None:
        sizes = [moment.weights[0].shape[1], *(weight.shape[0] for weight in moment.weights)]
        left, top, right, bottom = box
        places = []
        for column, size in enumerate(sizes):
            x = left + (right - left) * column / (len(sizes) - 1)
            gap = min((bottom - top) / size, 0.12 * (bottom - top))
            begun = (top + bottom) / 2 - gap * (size - 1) / 2
            places.append([(x, begun + gap * unit) for unit in range(size)])
        for layer, (before, after) in enumerate(pairwise(places)):
            self._connections(pen, moment.weights[layer], moment.step_sizes[layer], before, after)
        radius = max(min(0.45 * (bottom - top) / max(sizes), 0.02 * (bottom - top)), 3.0)
        for column, units in enumerate(places):
            for unit, place in enumerate(units):
                fill, rim = self._colours(moment, column, unit, len(places))
                self._circle(pen, place, radius, fill, rim)

    def _connections(
        self,
        pen: ImageDraw.ImageDraw,
        weights: NDArray[np.float64],
        sizes: NDArray[np.float64] | None,
        before: list[tuple[float, float]],
        after: list[tuple[float, float]],
    ) -> None:
        largest = float(np.abs(weights).max()) or 1.0
        strength = np.abs(weights) / largest
        self._range = self._range or _range_of(sizes)
        order = np.argsort(strength, axis=None)  # the strongest last, on top of the others
        for unit, source in zip(*np.unravel_index(order, weights.shape), strict=True):
            if strength[unit, source] >= _FAINTEST:
                colour = _POSITIVE if weights[unit, source] > 0 else _NEGATIVE
                line = 2.0 if sizes is None else 1.0 + 5.0 * self._share(float(sizes[unit, source]))
                ends = [*before[source], *after[unit]]
                pen.line(ends, fill=_blend(colour, float(strength[unit, source]) ** 0.8), width=round(line))

    def _share(self, step_size: float) -> float:
        """Where a step size lies between the smallest and the largest that are told apart, in [0, 1]."""
        if self._range is None or step_size <= 0:
            return 0.0
        low, high = np.log(self._range)
        return float(np.clip((np.log(step_size) - low) / (high - low), 0, 1))

    def _colours(self, moment: Moment, column: int, unit: int, columns: int) -> tuple[NDArray, NDArray]:
        """What fills a unit's circle, and its rim."""
        if column in (0, columns - 1):
            return _blend_array(_INK, 0.75), _INK
        belongs = moment.backbone[column - 1]
        rim = _INK if belongs is None else _BACKBONE if belongs[unit] else _FRINGE
        age = float(moment.ages[column - 1][unit])
        grown = np.log1p(age) / np.log1p(max(self.steps, 1))  # young units are pale
        return _blend_array(rim, 0.1 + 0.8 * grown**3), rim

    def _circle(self, pen: ImageDraw.ImageDraw, place: tuple[float, float], radius: float, fill: NDArray, rim: NDArray):
        x, y = place
        box = (x - radius, y - radius, x + radius, y + radius)
        pen.ellipse(box, fill=_rgb(fill), outline=_rgb(rim), width=max(round(radius / 4), 2))

    def _curve(self, pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float]) -> None:
        """The errors so far, from 0 to the largest of them."""
        left, top, right, bottom = box
        pen.line([left, bottom, right, bottom], fill=_rgb(_GREY), width=_FINER)
        if not self._errors:
            return
        # the first bins, in which nothing is known yet, may run out of the frame
        most = 1.3 * float(np.quantile([error for _, error in self._errors], 0.9)) or 1.0
        points = [
            (left + (right - left) * step / self.steps, bottom - (bottom - top) * min(error / most, 1.0))
            for step, error in self._errors
        ]
        if len(points) > 1:
            pen.line([number for point in points for number in point], fill=_rgb(_INK), width=2 * _FINER)
        self._circle(pen, points[-1], 3.0 * _FINER, _INK, _INK)
        self._write(pen, (left, top - 0.3 * (bottom - top)), f"{self.metric} (0 to {most:.2g})", 12 * _FINER, _GREY)

    def _write(
        self, pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: float, colour: NDArray
    ) -> None:
        pen.text(place, text, fill=_rgb(colour), font=ImageFont.load_default(size=size))


def _range_of(sizes: NDArray[np.float64] | None) -> tuple[float, float] | None:
    """A tenth of the median of the first step sizes, and ten times it."""
    if sizes is None or not (sizes > 0).any():
        return None
    middle = float(np.median(sizes[sizes > 0]))
    return middle / 10, middle * 10


def _blend_array(colour: NDArray, strength: float) -> NDArray:
    return _WHITE + (colour - _WHITE) * min(max(strength, 0.0), 1.0)


def _blend(colour: NDArray, strength: float) -> tuple[int, int, int]:
    return _rgb(_blend_array(colour, strength))


def _rgb(colour: NDArray) -> tuple[int, int, int]:
    red, green, blue = (round(float(part)) for part in colour)
    return red, green, blue
