"""What the stops show: photographs, digits, and networks that learn to read them. Made when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastconv import data, models, nn, optim, train
from fastconv._extras import require

__all__ = ["Material", "Trained", "vowels"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Trained:
    """A network that learned to read digits of one size, and how."""

    model: nn.Module
    first_weights: dict[str, Array]
    history: train.History
    evaluation: train.Evaluation
    test_images: Array


class Material:
    """Photographs, digits, trained networks.

    Parameters
    ----------
    quick : bool
        Train for a moment only: pictures are then no evidence.
    """

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick

    @cached_property
    def photograph(self) -> Array:
        """The colour photograph: (3, 427, 640), from 0 to 1."""
        datasets = require("sklearn.datasets", "photographs and digits", "demo")
        return np.ascontiguousarray(datasets.load_sample_image("china.jpg").transpose(2, 0, 1) / 255.0)

    @cached_property
    def gray(self) -> Array:
        """Its brightness: (427, 640), from 0 to 1."""
        return np.asarray(np.tensordot([0.299, 0.587, 0.114], self.photograph, 1))

    @cached_property
    def detail(self) -> Array:
        """A part of it that is large enough to see single pixels' work: (232, 348)."""
        return self.gray[44:276, 118:466]

    @cached_property
    def digit(self) -> Array:
        """A digit with paper around it: (32, 32), paper 0 and ink 1."""
        images, labels = data.digits(20)
        two = images[labels == 2][0, 0]
        return np.pad((two - data.PAPER) / (data.INK - data.PAPER), 6).astype(np.float64)

    def samples(self, size: int) -> tuple[data.DataLoader, tuple[Array, Array], tuple[Array, Array]]:
        """Digits of a size: a loader of shuffled training images, validation and test images with their labels."""
        images, labels = data.digits(size)
        part = data.split(len(labels), validation=198)
        chosen = part.training[:200] if self.quick else part.training
        loader = data.DataLoader(images[chosen], labels[chosen], 32, shuffle=True, generator=0)
        rest = [(images[index], labels[index]) for index in (part.validation, part.test)]
        return loader, rest[0], rest[1]

    def epochs(self, number: int) -> int:
        """That number, or 1 when in a hurry."""
        return 1 if self.quick else number

    @cached_property
    def classroom(self) -> Trained:
        """The classroom network, trained on digits of 40x40 with Adam."""
        loader, validation, test = self.samples(40)
        loader.augment = (data.RandomShift(2, data.PAPER),)
        model = models.ClassroomNet(generator=0)
        first = model.state_dict()
        epochs = self.epochs(8)
        optimizer = optim.Adam(model.parameters(), lr=2e-3)
        schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
        history = train.fit(
            model, loader, epochs=epochs, optimizer=optimizer, schedule=schedule, validation=validation, progress=False
        )
        return Trained(model, first, history, train.evaluate(model, test), test[0])


def vowels(rate: int = 8000) -> tuple[Array, int, int, dict[str, float]]:
    """Make three vowels from a formula: harmonics of a falling voice, strong where the mouth resounds.

    The resonances are a man's of Peterson and Barney, "Control methods used in a study of the vowels", 1952.

    Returns
    -------
    signal : ndarray of shape (L,)
    rate, highest : int
        Samples a second, and the highest pitch worth showing.
    names : dict of str to float
        The vowels, and the seconds at which they stand.
    """
    seconds, pause = 0.4, np.zeros(rate // 20)
    time = np.arange(round(seconds * rate)) / rate
    voice = 140 - 50 * time / seconds
    pitch = np.arange(1, 40)[:, np.newaxis] * voice  # of each harmonic at each time
    phase = 2 * np.pi * np.cumsum(pitch, axis=1) / rate
    parts: list[Array] = []
    names: dict[str, float] = {}
    for name, resonances in {"ah": (730, 1090), "ee": (270, 2290), "oo": (300, 870)}.items():
        loudness = sum(1 / (1 + ((pitch - resonance) / 60) ** 2) for resonance in resonances)
        sound = np.sum(np.where(pitch < rate / 2, loudness, 0) * np.sin(phase), axis=0) * np.sin(np.pi * time / seconds)
        names[name] = (sum(part.size for part in parts) + time.size / 2) / rate
        parts += [sound / np.abs(sound).max(), pause]
    return np.concatenate(parts), rate, 3000, names
