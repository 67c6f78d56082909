"""Bad input: every wrong call raises the exception due, and its message names the argument, what was received, and the rule.

Nothing may crash the process either. Calls near the limits of 64 bits run in a process of their own first, so that a crash is a
failed test and not the end of the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bad_calls
from bad_calls import CALLS, LAYERS, Case


def complaint(case: Case) -> str:
    """What is wrong with how a wrong call was refused; nothing if it was refused as it should be."""
    wrong = case.wrong
    try:
        result = case.run()
    except (ValueError, TypeError, MemoryError) as error:
        text = str(error)
        shown = f"{case.name}={wrong.value!r}" if wrong.shown is None else wrong.shown
        named = case.name if wrong.error is not MemoryError else ""
        for what, found in (
            ("exception", isinstance(error, wrong.error)),
            ("operator", text.startswith(f"{case.prefix}: ")),
            ("argument", re.search(rf"\b{named}\b", text)),
            ("value received", shown in text),
            ("rule", re.search(wrong.rule, text)),
        ):
            if not found:
                return f"the {what} is missing in {type(error).__name__}: {text}"
        return ""
    return f"it was taken: {np.shape(result) if not isinstance(result, tuple) else result!r}"


@pytest.mark.parametrize("name", CALLS)
def test_the_right_call_is_right(name: str) -> None:
    CALLS[name]()


@pytest.mark.parametrize("name", LAYERS)
def test_the_right_layer_is_right(name: str) -> None:
    layer = LAYERS[name]()
    y, backward = layer.forward(LAYERS[name].input)
    assert backward(np.ones_like(y)).shape == LAYERS[name].input.shape


@pytest.mark.parametrize("case", list(bad_calls.operator_cases()), ids=str)
def test_operators_refuse(case: Case) -> None:
    assert not complaint(case)


@pytest.mark.parametrize("case", list(bad_calls.layer_cases()), ids=str)
def test_layers_refuse(case: Case) -> None:
    assert not complaint(case)
