"""The usual input ranges: those that a teacher whose file names none may have been trained on."""

from __future__ import annotations

from dataclasses import dataclass

Statistics = dict[str, tuple[tuple[float, ...], tuple[float, ...]]]

GREY_LEVELS: Statistics = {"MNIST's mean and deviation": ((0.1307,), (0.3081,))}
COLOURS: Statistics = {
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CIFAR-10's mean and deviation": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
}
"""Data set -> mean and standard deviation of its channels, for pixels in 0..1."""

IMAGENET_CLASSES = (1000, 1001)
"""Numbers of classes of networks for ImageNet; most files with them expect its mean and deviation."""


@dataclass(frozen=True)
class Candidate:
    """A usual input range.

    Attributes:
        name: as messages name it, such as "0..255".
        low, high: of each channel, or one number for all.
        scale: ranges of one scale have about the same width, and differ in their offset.
    """

    name: str
    low: tuple[float, ...]
    high: tuple[float, ...]
    scale: str

    def is_near(self, other: Candidate) -> bool:
        """Whether both ranges are the same within a sixth of their width, so that either will do."""
        width = max(b - a for a, b in zip(self.low, self.high, strict=True))
        pairs = zip((*self.low, *self.high), (*other.low, *other.high), strict=True)
        return max(abs(a - b) for a, b in pairs) < width / 6


def candidate_domains(shape: tuple[int, ...], classes: int) -> list[Candidate]:
    """The usual input ranges of inputs of a shape, the commonest first.

    Args:
        shape: of one sample, channels first: (C, H, W) and (C, D, H, W) are images, the rest vectors or sequences.
    """
    if len(shape) < 3:
        return [_range(*bounds, 1, scale) for bounds, scale in SIGNALS]
    channels = shape[0]
    plain = {name: _range(*bounds, channels, scale) for name, (bounds, scale) in PIXELS.items()}
    standardised = [
        Candidate(name, *_standardised(mean, deviation), "1")
        for name, (mean, deviation) in {**GREY_LEVELS, **COLOURS}.items()
        if len(mean) == channels
    ]
    if classes in IMAGENET_CLASSES and channels == 3:
        return [standardised[0], *plain.values(), *standardised[1:]]
    return [plain["0..1"], plain["0..255"], plain["-1..1"], *standardised, *list(plain.values())[3:]]


PIXELS: dict[str, tuple[tuple[float, float], str]] = {
    "0..1": ((0, 1), "1"),
    "0..255": ((0, 255), "255"),
    "-1..1": ((-1, 1), "1"),
    "-0.5..0.5": ((-0.5, 0.5), "1"),
    "-128..127": ((-128, 127), "255"),
    "0..16": ((0, 16), "16"),
}

SIGNALS: list[tuple[tuple[float, float], str]] = [
    ((-2, 2), "1"),
    ((0, 1), "1"),
    ((-1, 1), "1"),
    ((-20, 20), "20"),
    ((0, 16), "20"),
    ((-200, 200), "200"),
    ((0, 255), "200"),
    ((-2000, 2000), "2000"),
    ((-32768, 32767), "32768"),
]
"""Ranges of vectors and sequences; the first is that of standardised features, the last that of 16-bit sound."""


def _range(low: float, high: float, channels: int, scale: str) -> Candidate:
    return Candidate(f"{low:g}..{high:g}", (float(low),) * channels, (float(high),) * channels, scale)


def _standardised(mean: tuple[float, ...], deviation: tuple[float, ...]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    pairs = list(zip(mean, deviation, strict=True))
    return tuple(-m / s for m, s in pairs), tuple((1 - m) / s for m, s in pairs)
