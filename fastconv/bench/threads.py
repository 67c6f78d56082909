"""One thread count for every library that takes part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import fastconv as fc
from fastconv._extras import require


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Let fastconv and NumPy's BLAS use this many threads inside the block.

    Parameters
    ----------
    threads : int

    Raises
    ------
    ValueError
        If fastconv does not allow that many.
    """
    threadpoolctl = require("threadpoolctl", "thread limits of NumPy")
    with ExitStack() as stack:
        stack.enter_context(fc.threads(threads))
        stack.enter_context(threadpoolctl.threadpool_limits(threads, user_api="blas"))
        yield
