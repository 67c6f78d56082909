"""Pictures of sequences: a time series, a sound, a text, each through convolution along one axis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

import fastconv as fc
from fastconv import _check as check
from fastconv.analysis.figures._style import BLUE, GRAY, RED, drawn, panels, taken

__all__ = ["series", "sound", "word_detector"]


@drawn
def series(signal: ArrayLike, labels: tuple[str, str] = ("time", "value")) -> Any:
    """Draw a time series, its moving average and its slope, each one convolution.

    Parameters
    ----------
    signal : array_like of shape (L,)
    labels : (str, str)
        Of the axes.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the signal does not hold real numbers, has other axes, or less than 17 values.

    Examples
    --------
    >>> axes = series(np.sin(np.linspace(0, 9, 200)))
    >>> axes[1].lines[0].get_label()
    'its slope: conv1d with (-1/2, 0, 1/2)'
    """
    x, size = taken("series", "signal", signal, "(L,)", dtype=np.float64), 15
    if len(x) < size + 2:
        raise ValueError(f"series: signal must have {size + 2} values or more, received shape {x.shape}")
    mean = fc.conv1d(x[np.newaxis], np.full((1, 1, size), 1 / size), padding="valid")[0]
    slope = fc.conv1d(mean[np.newaxis], np.array([[[-0.5, 0.0, 0.5]]]))[0]
    axes = panels(7.2, 4.4, 2, height_ratios=(1.6, 1), sharex=True)
    time = np.arange(len(x))
    axes[0].plot(time, x, color=GRAY, linewidth=1, label="the series")
    axes[0].plot(
        time[size // 2 : size // 2 + len(mean)],
        mean,
        color=BLUE,
        label=f"moving average: conv1d with {size} times 1/{size}",
    )
    axes[1].plot(
        time[size // 2 + 1 : size // 2 + 1 + len(slope)],
        slope,
        color=RED,
        label="its slope: conv1d with (-1/2, 0, 1/2)",
    )
    axes[1].axhline(0, color="#bbbbbb", linewidth=1, zorder=0)
    axes[0].set(ylabel=labels[1])
    axes[1].set(xlabel=labels[0], ylabel="change")
    for panel in axes:
        panel.legend(loc="upper left")
        low, high = panel.get_ylim()
        panel.set_ylim(low, high + 0.3 * (high - low))
    return axes


@drawn
def sound(signal: ArrayLike, rate: int = 8000, highest: int = 3000, names: Mapping[str, float] | None = None) -> Any:
    """Draw a sound, and how strongly filters of many pitches answer to it: convolution with short waves.

    Parameters
    ----------
    signal : array_like of shape (L,)
        Of 64 ms at least.
    rate : int
        Samples a second.
    highest : int
        The last of the pitches, which are 20 Hz apart.
    names : mapping of str to float, optional
        What to write above the sound, and at which second.

    Returns
    -------
    ndarray of Axes, (2,)

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When the signal does not hold real numbers, has other axes or is too short, or a number is no int or too small.

    Examples
    --------
    >>> axes = sound(np.sin(2 * np.pi * 440 * np.arange(2000) / 8000), highest=1000)
    >>> axes[1].get_title()
    'answers of 46 pairs of filters'
    """
    op = "sound"
    x = taken(op, "signal", signal, "(L,)", dtype=np.float64)
    rate, highest = check.integer(op, "rate", rate, 200), check.integer(op, "highest", highest, 100)
    if len(x) < rate * 64 // 1000:
        raise ValueError(f"{op}: signal must last 64 ms or more, received {len(x)} samples, {rate=}")
    pitches = np.arange(100, highest + 1, 20)
    size, hop = rate * 64 // 1000, rate // 200
    phase = 2 * np.pi * np.outer(pitches, np.arange(size) / rate)
    waves = np.stack([np.cos(phase), np.sin(phase)]) * np.hanning(size)
    answers = fc.conv1d(x[np.newaxis], waves.reshape(-1, 1, size), stride=hop).reshape(2, len(pitches), -1)
    strength = 20 * np.log10(np.hypot(*answers) + 1e-9)
    axes = panels(7.2, 5.0, 2, height_ratios=(1, 2), sharex=True)
    axes[0].plot(np.arange(len(x)) / rate, x, color=GRAY, linewidth=0.6)
    axes[0].set(ylabel="pressure", yticks=[0], ylim=np.array([-1.1, 1.1]) * np.abs(x).max())
    for name, second in (names or {}).items():
        axes[0].text(second, 1.15 * np.abs(x).max(), name, ha="center", va="bottom")
    start, end = size / 2 / rate, (size / 2 + hop * (strength.shape[1] - 1)) / rate  # middles of the windows
    image = axes[1].imshow(
        strength - strength.max(), "magma", aspect="auto", origin="lower", vmin=-50, vmax=0,
        extent=(start - hop / 2 / rate, end + hop / 2 / rate, pitches[0] - 10, pitches[-1] + 10),
    )  # fmt: skip
    axes[1].set(title=f"answers of {len(pitches)} pairs of filters", xlabel="seconds", ylabel="pitch of the filter, Hz")
    axes[1].set_xlim(0, len(x) / rate)
    axes[1].figure.colorbar(image, ax=axes[1], label="decibels")
    return axes


@drawn
def word_detector(text: str, word: str) -> Any:
    """Draw how many letters of a word agree with a text, at each place: a convolution with letters as channels.

    Parameters
    ----------
    text, word : str
        Of characters a to z; others have no channel.

    Returns
    -------
    Axes

    Raises
    ------
    MissingExtraError
        When matplotlib is not installed.
    TypeError, ValueError
        When `text` or `word` is not a string, or the word is empty or longer than the text.

    Examples
    --------
    >>> word_detector("convolution", "volt").texts[0].get_text()
    '3'
    """
    if not (isinstance(text, str) and isinstance(word, str)):
        raise TypeError(f"word_detector: text and word must be strings, received {text=}, {word=}")
    if not 0 < len(word) <= len(text):
        raise ValueError(f"word_detector: word must have a letter, and no more than text, received {text=}, {word=}")
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    channels, kernel = (
        np.asarray(letters[:, np.newaxis] == np.array(list(piece)), np.float64) for piece in (text, word)
    )
    response = fc.conv1d(channels, kernel[np.newaxis])[0]
    axes = panels(7.2, 3.0)
    found = response == response.max()
    axes.bar(np.arange(len(response)), response, color=[RED if hit else BLUE for hit in found], width=0.8)
    axes.set(
        xlim=(-1, len(text)),
        ylim=(0, len(word) * 1.15),
        ylabel="letters that agree",
        title=f'filter: "{word}"',
        xlabel="letter under the filter's first",
    )
    axes.set_xticks(np.arange(len(text)), list(text), fontsize=8)
    axes.tick_params(axis="x", length=0)
    for place in np.flatnonzero(found):
        axes.text(place + 0.8, response[place], f"{response[place]:g}", color=RED, va="center")
    return axes
