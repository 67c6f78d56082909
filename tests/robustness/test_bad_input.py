"""Bad input: every wrong call raises the exception due; its message names argument, value received, and rule.

Nothing may crash the process either. All of the sweep, and calls near the limits of 64 bits, run in a process of their
own first, so that a crash is a failed test and not the end of the tests.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import bad_calls
import numpy as np
import pytest
from bad_calls import Case
from filter_calls import FILTERS
from right import CALLS, LAYERS

from fastconv import functional


def complaint(case: Case) -> str:
    """What is wrong with how a wrong call was refused; nothing if it was refused as it should be."""
    wrong = case.wrong
    try:
        result = case.run()
    except (ValueError, TypeError, MemoryError) as error:
        text = str(error)
        shown = f"{case.name}={wrong.value!r}" if wrong.shown is None else wrong.shown
        named = wrong.named or (case.name if wrong.error is not MemoryError else "")
        for what, found in (
            ("exception", isinstance(error, wrong.error)),
            ("operator", text.startswith(f"{case.prefix}: ")),
            ("argument", re.search(rf"\b({named})\b", text)),
            ("value received", shown in text),
            ("rule", re.search(wrong.rule, text)),
        ):
            if not found:
                return f"the {what} is missing in {type(error).__name__}: {text}"
        return ""
    return f"it was taken: {np.shape(result) if not isinstance(result, tuple) else result!r}"


def test_the_table_has_every_operator() -> None:
    """Or a new one would be swept over by none of this folder's tests."""
    operators = {name for name, value in vars(functional).items() if inspect.isfunction(value) and name[0] != "_"}
    assert set(CALLS) == operators - {"freeze_weight"}  # which computes nothing; its layers' tests have it


@pytest.mark.parametrize("name", CALLS)
def test_the_right_call_is_right(name: str) -> None:
    CALLS[name]()


@pytest.mark.parametrize("name", FILTERS)
def test_the_right_filter_is_right(name: str) -> None:
    assert np.isfinite(FILTERS[name]()).all()


@pytest.mark.parametrize("name", LAYERS)
def test_the_right_layer_is_right(name: str) -> None:
    layer = LAYERS[name]()
    y, backward = layer.forward(LAYERS[name].input)
    assert backward(np.ones_like(y)).shape == LAYERS[name].input.shape


OPERATORS = bad_calls.by_argument(bad_calls.operator_cases())
IN_LAYERS = bad_calls.by_argument(bad_calls.layer_cases())
IN_FILTERS = bad_calls.by_argument(bad_calls.filter_cases())


def test_the_sweep_is_wide() -> None:
    assert sum(map(len, OPERATORS.values())) > 10_000
    assert sum(map(len, IN_LAYERS.values())) > 5_000
    assert sum(map(len, IN_FILTERS.values())) > 700


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process, alarms")
@pytest.mark.parametrize("family", ["sweep", "named", "random", "filters"])
def test_the_process_survives(family: str) -> None:
    """Stands first: a crash in the tests below would end them all."""
    command = [sys.executable, "-X", "faulthandler", str(Path(__file__).with_name("extremes.py")), family]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, f"after {done.stdout.splitlines()[-1:]}: {done.stderr[:2000]}"
    assert done.stdout.splitlines()[-1].startswith("made ")


@pytest.mark.parametrize("group", OPERATORS)
def test_operators_refuse(group: str) -> None:
    complaints = {str(case): text for case in OPERATORS[group] if (text := complaint(case))}
    assert not complaints


@pytest.mark.parametrize("group", IN_FILTERS)
def test_filters_refuse(group: str) -> None:
    complaints = {str(case): text for case in IN_FILTERS[group] if (text := complaint(case))}
    assert not complaints


@pytest.mark.parametrize("group", IN_LAYERS)
def test_layers_refuse(group: str) -> None:
    complaints = {str(case): text for case in IN_LAYERS[group] if (text := complaint(case))}
    assert not complaints
