"""What the library says of itself, what it is told for a block of code, and what it remembers between calls."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from calls import all_calls

import fastconv as fc
from fastconv import _config, plan
from fastconv._config import ISAS, isa_limit

CALLS = all_calls({1: (40,), 2: (11, 12), 3: (5, 6, 7)}, batch=2, channels=4, outputs=6)
CONVOLUTIONS = [name for name in CALLS if name.startswith("conv")]
USABLE = [name for name, state in ISAS.items() if all(state)]

# -------------------------------------------------------------------------------------------------------------- reports


def test_show_config_tells_what_runs() -> None:
    with fc.threads(3):
        report: Any = fc.show_config(mode="dicts")
    assert report["fastconv"] == fc.__version__ == "0.1.0"
    assert report["python"] == platform.python_version()
    assert report["numpy"] == np.__version__
    assert any(name in report["compiler"] for name in ("GCC", "Clang", "MSC", "unknown"))
    sets = report["instruction sets"]
    assert sets["selected"] in sets["compiled"]
    assert sets["selected"] in sets["supported by this machine"]
    assert len(report["flags"]) == len(sets["compiled"]), "the flags of each set"
    assert sets["why"]
    assert report["OpenMP"]["version"]
    assert report["threads"]["number"] >= 1
    assert report["threads"]["why"] == "fastconv.threads()"
    assert report["precision"] in ("high", "highest")


def test_show_config_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    fc.show_config()
    printed = json.loads(capsys.readouterr().out)
    assert printed == fc.show_config(mode="dicts")


@pytest.mark.parametrize("mode", ["text", "", None, 1, True, ["print"]])
def test_show_config_in_an_unknown_mode(mode: Any) -> None:
    with pytest.raises(ValueError, match="show_config: mode must be 'print' or 'dicts', received "):
        fc.show_config(mode=mode)


def test_the_module_prints_it_too() -> None:
    done = subprocess.run([sys.executable, "-P", "-m", "fastconv", "info"], capture_output=True, text=True, check=True)
    for word in (fc.__version__, "threads", "baseline", "OpenMP", platform.python_version()):
        assert word in done.stdout


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_openmp_runtime_is_named() -> None:
    report: Any = fc.show_config(mode="dicts")
    if report["OpenMP"]["version"].isdigit():
        assert report["OpenMP"]["runtime"]
        assert all(os.path.exists(path) for path in report["OpenMP"]["runtime"])


def test_the_instruction_set_of_a_block_shows() -> None:
    for name in USABLE:
        with isa_limit(name):
            report: Any = fc.show_config(mode="dicts")
            assert report["instruction sets"]["selected"] == name
            assert fc.explain("conv2d", **CALLS["conv2d"].arguments).isa == name


@pytest.mark.parametrize("name", ["sse", "", "AVX2", None, 1])
def test_isa_limit_refuses_what_is_not_there(name: Any) -> None:
    with pytest.raises((ValueError, TypeError)), isa_limit(name):
        pass


# -------------------------------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize("isa", USABLE)
@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "depthwise", "grouped", "naive"])
def test_explain(name: str, algorithm: str, isa: str) -> None:
    with isa_limit(isa):
        found = fc.explain(name, **CALLS[name].arguments, algorithm=algorithm)
        plan.clear()
        CALLS[name](algorithm=algorithm)
        made = plan.plans()
    each = found if isinstance(found, list) else [found]
    assert len(each) == (2 if name.endswith("_backward") else 1)
    for one in each:
        assert one.operator.startswith(name)
        assert one.algorithm == algorithm or algorithm == "auto"
        assert one.reason
        text = str(one)
        assert one.algorithm in text
        assert one.reason in text
        if algorithm != "naive":
            assert one.isa == isa
            assert one.tasks
            assert f"workspace {one.workspace_bytes} bytes" in text
    if algorithm == "naive":
        assert not made
    else:  # and it is what runs, beside the bias's gradient
        keys = [(p.algorithm, p.tasks, p.workspace_bytes, p.scratch_bytes) for p in made if p.algorithm != "sum"]
        assert sorted(keys) == sorted((o.algorithm, o.tasks, o.workspace_bytes, o.scratch_bytes) for o in each)


def test_explain_takes_the_function_and_positions() -> None:
    call = CALLS["conv2d"].arguments
    by_name = fc.explain("conv2d", call["input"], call["weight"], call["bias"], 2, 1, 1, 2)
    assert by_name == fc.explain(fc.conv2d, **call)
    assert by_name == fc.explain(fc.conv2d, call["input"], call["weight"], stride=2, padding=1, groups=2)


@pytest.mark.parametrize("operator", ["conv4d", "max_pool2d", "", None, 3, fc.linear, "conv2d_backward_backward"])
def test_explain_refuses_what_has_no_choice(operator: Any) -> None:
    with pytest.raises(ValueError, match="explain: operator must be"):
        fc.explain(operator, np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)))


@pytest.mark.parametrize(
    "wrong", [{"stride": 0}, {"padding": -1}, {"groups": 3}, {"algorithm": "fast"}, {"stride": True}]
)
def test_explain_checks_as_the_call_does(wrong: dict[str, Any]) -> None:
    messages = []
    for make in (
        lambda: CALLS["conv2d"](**wrong),
        lambda: fc.explain("conv2d", **{**CALLS["conv2d"].arguments, **wrong}),
    ):
        with pytest.raises((ValueError, TypeError)) as caught:
            make()
        messages.append((caught.type, str(caught.value)))
    assert messages[0] == messages[1]


def test_explain_refuses_options_that_do_not_exist() -> None:
    with pytest.raises(TypeError, match="strid"):
        fc.explain("conv2d", **CALLS["conv2d"].arguments, strid=2)


# ------------------------------------------------------------------------------------------------------------ precision


def test_precision_of_a_block_and_of_all() -> None:
    assert fc.get_precision() == "high"
    with fc.precision("highest"):
        assert fc.get_precision() == "highest"
        with fc.precision("high"):
            assert fc.get_precision() == "high"
        assert fc.get_precision() == "highest"
    fc.set_precision("highest")
    try:
        assert fc.get_precision() == "highest"
        with fc.precision("high"):
            assert fc.get_precision() == "high"
    finally:
        fc.set_precision("high")
    with pytest.raises(RuntimeError, match="stop"), fc.precision("highest"):
        raise RuntimeError("stop")
    assert fc.get_precision() == "high"


def test_contexts_are_one_threads_own() -> None:
    seen = []

    def look() -> None:
        seen.append((fc.get_precision(), _config.current_isa(), fc.get_num_threads()))

    look()
    with fc.precision("highest"), isa_limit("baseline"), fc.threads(5):
        other = threading.Thread(target=look)
        other.start()
        other.join()
        look()
    look()
    assert seen[1] == seen[0] == seen[3]
    assert seen[2] == ("highest", 0, 5)


@pytest.mark.parametrize("value", ["low", "", "HIGH", None, 1, True, ["high"], b"high"])
def test_precisions_that_do_not_exist(value: Any) -> None:
    with pytest.raises(ValueError, match="set_precision: precision must be 'high' or 'highest', received"):
        fc.set_precision(value)
    with (
        pytest.raises(ValueError, match="precision: precision must be 'high' or 'highest', received"),
        fc.precision(value),
    ):
        pass
    assert fc.get_precision() == "high"


# --------------------------------------------------------------------------------------------------- the cache of plans


def test_the_cache_is_bounded() -> None:
    plan.clear()
    w = np.ones((1, 1, 1), np.float32)
    for size in range(1, 3 * plan._CACHE_LIMIT):
        assert fc.conv1d(np.ones((1, size), np.float32), w).shape == (1, size)
        assert len(plan._cache) <= plan._CACHE_LIMIT
    assert len(plan._cache) >= plan._CACHE_LIMIT // 2
    plan.clear()
    assert not plan._cache


def test_a_repeated_call_finds_its_plan() -> None:
    plan.clear()
    call = CALLS["conv2d_backward"]
    call()
    kept = list(plan._cache.values())
    call()
    call(stride=2, padding=1)
    assert list(plan._cache.values()) == kept
    call(stride=(2, 2))  # another key for the same problem
    assert len(plan._cache) > len(kept)


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if "stride" in call.arguments])
def test_a_cached_one_is_neither_true_nor_a_float(name: str) -> None:
    """1, 1.0 and True are equal and hash alike."""
    call = CALLS[name]
    options = [o for o in ("stride", "padding", "dilation", "groups", "output_padding") if o in call.arguments]
    for option in options:
        right = call.arguments[option]
        call()
        for value in (float(right), np.float64(right), bool(right), np.bool_(right), str(right), complex(right)):
            with pytest.raises((TypeError, ValueError), match=option):
                call(**{option: value})
            with pytest.raises((TypeError, ValueError), match=option):
                call(**{option: (value,) * call.axes})


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if "stride" in call.arguments])
def test_integers_of_every_type_give_the_same(name: str) -> None:
    call = CALLS[name]

    class Whole(int):
        pass

    class Index:
        def __init__(self, value: int) -> None:
            self.value = value

        def __index__(self) -> int:
            return self.value

    want = bits(call())
    for option in ("stride", "padding", "dilation", "kernel_size"):
        if option not in call.arguments:
            continue
        right = call.arguments[option]
        ways = [np.int64(right), np.uint8(right), np.array(right), Whole(right), Index(right)]
        ways += [(right,) * call.axes, [right] * call.axes, np.full(call.axes, right), (np.int32(right),) * call.axes]
        for value in ways:
            assert bits(call(**{option: value})) == want, f"{option}={value!r}"


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if "ceil_mode" in call.arguments])
def test_flags_are_no_integers_in_the_cache(name: str) -> None:
    call = CALLS[name]
    call(ceil_mode=False)
    for value in (0, 1, None, "False"):
        with pytest.raises(TypeError, match="ceil_mode"):
            call(ceil_mode=value)


def bits(result: Any) -> list[bytes]:
    """The bytes of a result's arrays."""
    return [np.asarray(a).tobytes() for a in (result if isinstance(result, tuple) else (result,)) if a is not None]


def test_the_cache_tells_dtypes_instruction_sets_and_operators_apart() -> None:
    plan.clear()
    x, w = np.ones((1, 3, 9, 9)), np.ones((3, 3, 3, 3))
    for dtype in (np.float32, np.float64):
        for isa in USABLE:
            with isa_limit(isa):
                for name in ("conv2d", "conv_transpose2d"):
                    y = getattr(fc, name)(x.astype(dtype), w.astype(dtype))
                    assert y.dtype == dtype
    found = plan.plans()
    assert len(found) == 4 * len(USABLE)
    assert {p.isa for p in found} == set(USABLE)


# ------------------------------------------------------------------------------------------------------- frozen weights


@pytest.mark.parametrize("isa", USABLE)
@pytest.mark.parametrize("algorithm", ["auto", "direct", "im2col", "col2im", "depthwise", "grouped", "naive"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_frozen_weights_give_the_same_bits(name: str, algorithm: str, isa: str) -> None:
    call = CALLS[name]
    frozen = fc.freeze_weight(call.arguments["weight"])
    with isa_limit(isa):
        want = bits(call(algorithm=algorithm))
        for threads in (1, 3):
            with fc.threads(threads):
                for _ in range(2):
                    assert bits(call(weight=frozen, algorithm=algorithm)) == want


@pytest.mark.parametrize("isa", USABLE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_frozen_weights_and_winograd(dtype: Any, isa: str) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 40, 19, 22)).astype(dtype), rng.standard_normal((36, 20, 3, 3)).astype(dtype)
    frozen = fc.freeze_weight(w)
    options: dict[str, Any] = {"padding": 1, "groups": 2, "algorithm": "winograd"}
    with isa_limit(isa):
        y = fc.conv2d(x, w, **options)
        assert bits(fc.conv2d(x, frozen, **options)) == bits(y)
        assert bits(fc.conv2d_backward(y, x, frozen, **options)) == bits(fc.conv2d_backward(y, x, w, **options))


def test_later_changes_do_not_show() -> None:
    call = CALLS["conv2d"]
    w = call.arguments["weight"].copy()
    frozen = fc.freeze_weight(w)
    want = bits(call())
    assert bits(call(weight=frozen)) == want
    w[...] = 0
    assert bits(call(weight=frozen)) == want
    assert bits(call(weight=w)) != want
    with pytest.raises(ValueError, match="read-only"):
        frozen.array[...] = 0


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("of_input", [np.float16, np.float32, np.float64])
def test_frozen_weights_promote_as_others_do(dtype: Any, of_input: Any) -> None:
    call = CALLS["conv2d"]
    x, w, b = (call.arguments[k].astype(t) for k, t in (("input", of_input), ("weight", dtype), ("bias", of_input)))
    plain, frozen = call(input=x, weight=w, bias=b), call(input=x, weight=fc.freeze_weight(w), bias=b)
    assert frozen.dtype == plain.dtype
    assert bits(frozen) == bits(plain)
    gy = plain.astype(of_input)
    backward = CALLS["conv2d_backward"]
    for one, other in zip(
        backward(grad_output=gy, input=x, weight=w),
        backward(grad_output=gy, input=x, weight=fc.freeze_weight(w)),
        strict=True,
    ):
        assert one.dtype == other.dtype
        assert bits(one) == bits(other)


def test_many_shapes_with_one_frozen_weight() -> None:
    """The packed forms that it keeps are bounded."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((5, 3, 3, 3)).astype(np.float32)
    frozen = fc.freeze_weight(w)
    for size in range(3, 203):
        x = rng.standard_normal((1, 3, 3, size)).astype(np.float32)
        assert bits(fc.conv2d(x, frozen)) == bits(fc.conv2d(x, w))
    assert len(frozen._packed) <= 64


def test_frozen_weights_check_as_arrays_do() -> None:
    frozen = fc.freeze_weight(CALLS["conv2d"].arguments["weight"])
    with pytest.raises(ValueError, match=r"conv2d: .*groups=1"):
        CALLS["conv2d"](weight=frozen, groups=1)
    with pytest.raises(ValueError, match="conv1d: weight must have the axes"):
        fc.conv1d(np.ones((1, 4, 9), np.float32), frozen)
    for wrong in (np.ones((2, 2, 3, 3), int), None, "w", frozen):
        with pytest.raises(TypeError, match="freeze_weight: weight"):
            fc.freeze_weight(wrong)
