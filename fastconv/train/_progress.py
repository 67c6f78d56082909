"""What a person sees while a model learns."""

from __future__ import annotations

import sys
from typing import Any

from fastconv._extras import MissingExtraError, require
from fastconv.train._history import Epoch

__all__ = ["Progress"]


class Progress:
    """A bar over the batches while a person watches and tqdm is installed; a line for each epoch; or nothing.

    Both go to stderr: a program's own output stays clean.
    """

    def __init__(self, shown: bool, epochs: int) -> None:
        self._shown, self._epochs = shown, epochs
        self._bar: Any = None
        self._tqdm: Any = None
        if shown and sys.stderr.isatty():
            try:
                self._tqdm = require("tqdm", "progress bars", "train").tqdm
            except MissingExtraError:
                self._tqdm = None  # a bar is a convenience: lines will do

    def begin(self, number: int, batches: int, done: int) -> None:
        """Start the bar of an epoch."""
        if self._tqdm is not None:
            label = f"epoch {number}/{self._epochs}"
            self._bar = self._tqdm(total=batches, initial=done, desc=label, leave=False, file=sys.stderr)

    def step(self, loss: float) -> None:
        """Go on by a batch."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
            self._bar.update()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def end(self, epoch: Epoch, *, best: bool) -> None:
        """Print the epoch's line."""
        self.close()
        self.say(f"{epoch}{'  best' if best else ''}")

    def say(self, text: str) -> None:
        """Print a line."""
        if self._shown:
            print(text, file=sys.stderr, flush=True)
