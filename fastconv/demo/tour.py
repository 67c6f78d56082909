"""The stops of the tour, in order: each gives a picture or a table, and the sentence that says what to see."""

from __future__ import annotations

from fastconv.demo import learning, why  # noqa: F401 (they put their stops on the list)
from fastconv.demo.stops import CHAPTERS, Picture, Stop, Table

__all__ = ["CHAPTERS", "Picture", "Stop", "Table"]
