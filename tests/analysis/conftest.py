"""Settings of the tests of `fastconv.analysis`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fastconv as fc


@pytest.fixture(autouse=True, scope="module")
def _plain_sums() -> Iterator[None]:
    """Let ``algorithm="auto"`` choose among those that add products up as they are: these tests ask for equality."""
    with fc.precision("highest"):
        yield
