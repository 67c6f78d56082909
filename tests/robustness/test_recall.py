"""A call that looks like an earlier one takes a short way: it has to do what the same call does that comes first."""

from __future__ import annotations

import copy
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from calls import all_calls

import fastconv as fc
from fastconv import plan
from fastconv._engine import Alike

ALL = all_calls({1: (9,), 2: (6, 7), 3: (4, 3, 5)}, batch=2, channels=4, outputs=6)
WEIGHTED = ("conv", "linear", "locally_connected")
POINTWISE = ("relu", "sigmoid", "tanh", "leaky_relu", "elu", "gelu", "silu", "softplus", "prelu")
LINES = ("_norm", "_loss", "with_logits", "softmax", "cross_entropy")
#: The operators that have a short way: those with weights, which take out= or needs=, norms, losses, pointwise ones.
CALLS = {name: call for name, call in ALL.items() if any(word in name for word in WEIGHTED)}
SHORT = CALLS | {
    name: call
    for name, call in ALL.items()
    if name.removesuffix("_backward") in POINTWISE or any(word in name for word in LINES)
}
OPERANDS = ("grad_output", "input", "weight", "bias", "target", "output", "mean", "var", "running_mean", "running_var")


class Sub(np.ndarray):
    """An array of another type."""


def _offset(a: np.ndarray) -> np.ndarray:
    """The same values at an odd address."""
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


#: Changes of one operand: right and wrong ones.
CHANGES: dict[str, Callable[[np.ndarray], Any]] = {
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "int32": lambda a: a.astype(np.int32),
    "bits as integers": lambda a: a.view(np.int32),
    "complex": lambda a: a.astype(np.complex64),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder("S")),
    "Fortran order": np.asfortranarray,
    "reversed": lambda a: a[..., ::-1],
    "stepped": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "a part": lambda a: np.concatenate([a, a], 1)[:, : a.shape[1]] if a.ndim > 1 else np.concatenate([a, a])[: len(a)],
    "broadcast": lambda a: np.broadcast_to(a[:1], a.shape),
    "one value": lambda a: np.broadcast_to(a.dtype.type(2), a.shape),
    "unaligned": _offset,
    "a subclass": lambda a: a.view(Sub),
    "masked": lambda a: np.ma.array(a),
    "a list": lambda a: a.tolist(),
    "nothing": lambda a: None,
    "longer": lambda a: np.concatenate([a, a[..., :1]], -1),
    "more rows": lambda a: np.concatenate([a, a[:1]]),
    "empty": lambda a: a[:0],
    "one axis more": lambda a: a[None],
    "one axis less": lambda a: a[0],
    "turned": lambda a: a.T,
    "flat": np.ravel,
}


def outcome(call: Callable[[], Any]) -> Any:
    """Results as dtype, shape and bytes, or the error."""
    try:
        found = call()
    except Exception as error:
        return type(error), str(error)
    arrays = found if isinstance(found, tuple) else (found,)
    return [None if a is None else (type(a), a.dtype, a.shape, a.tobytes()) for a in arrays]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", SHORT)
def test_a_changed_operand_after_a_right_call(name: str, change: str) -> None:
    call = SHORT[name]
    for operand in OPERANDS:
        if not isinstance(call.arguments.get(operand), np.ndarray):
            continue
        other = CHANGES[change](call.arguments[operand])
        plan.clear()
        want = outcome(lambda: call(**{operand: other}))  # noqa: B023
        plan.clear()
        first = outcome(call)
        assert outcome(lambda: call(**{operand: other})) == want, operand  # noqa: B023
        assert outcome(lambda: call(**{operand: other})) == want, f"{operand}, again"  # noqa: B023
        assert outcome(call) == first, "and the right call stays as it was"


@pytest.mark.parametrize("name", [name for name in SHORT if name.endswith(("loss_backward", "entropy_backward"))])
def test_a_gradient_beyond_float32_is_an_infinity_without_a_word_each_time(name: str) -> None:
    call = SHORT[name]
    plan.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again = (call(grad_output=1e300, reduction="sum") for _ in range(2))
    assert not np.isfinite(first).all()
    assert first.tobytes() == again.tobytes()


@pytest.mark.parametrize("name", ALL)
def test_arguments_stay_as_they_are(name: str) -> None:
    call = ALL[name]
    before = copy.deepcopy(call.arguments)
    call()
    call()
    for key, value in before.items():
        assert np.array_equal(call.arguments[key], value), key


@pytest.mark.parametrize("name", SHORT)
def test_the_short_way_gives_new_arrays_of_the_same_bits(name: str) -> None:
    call = SHORT[name]
    plan.clear()
    first = call()
    again, last = call(), call()
    for a, b, c in zip(*(r if isinstance(r, tuple) else (r,) for r in (first, again, last)), strict=True):
        assert a.tobytes() == b.tobytes() == c.tobytes()
        assert not np.may_share_memory(b, c)
        assert b.flags.c_contiguous
        assert b.flags.owndata or b.base.flags.owndata
        assert b.flags.writeable or isinstance(b, np.generic)


@pytest.mark.parametrize("name", [name for name in CALLS if "backward" not in name])
def test_out_after_a_right_call(name: str) -> None:
    call = CALLS[name]
    want = call()
    out = np.full_like(want, np.nan)
    assert call(out=out) is out
    assert out.tobytes() == want.tobytes()
    for wrong in (want.astype(np.float64), want[..., :-1], want.tolist(), "out"):
        with pytest.raises((TypeError, ValueError), match=f"{name}: out must"):
            call(out=wrong)
    call.arguments["input"].flags.writeable = True


@pytest.mark.parametrize("name", [name for name in CALLS if "backward" in name])
def test_which_gradients_are_asked_for_counts(name: str) -> None:
    call = CALLS[name]
    full = outcome(call)
    for x in (True, False):
        for w in (True, False):
            for b in (True, False):
                for needs in ((x, w, b), [x, w, b], tuple(np.array([x, w, b]))):
                    want = [g if need else None for g, need in zip(full, (x, w, b), strict=True)]
                    assert outcome(lambda: call(needs=needs)) == want  # noqa: B023
    for wrong in ((1, 0, 0), (True, True), True, None, (True, True, None)):
        with pytest.raises((TypeError, ValueError), match="needs"):
            call(needs=wrong)


def test_options_that_no_key_describes_are_checked_each_time() -> None:
    call = CALLS["conv2d"]
    call()
    for stride in ((1,) * 200, (2**70, 1), ((((1,),),),), "é", "x" * 100, (1, "1"), (2**62, 1)):
        for _ in range(2):
            with pytest.raises((TypeError, ValueError), match="stride"):
                call(stride=stride)
    for algorithm in ("autó", "auto" * 50, "auto\0", "", "aut", None, 0):
        for _ in range(2):
            with pytest.raises(ValueError, match="algorithm must be one of"):
                call(algorithm=algorithm)


@pytest.mark.parametrize(
    ("name", "option", "value", "other"),
    [
        ("conv2d", "stride", np.array([2, 2]), np.array([1, 1])),
        ("conv2d", "stride", np.array(2), np.array(1)),
        ("conv2d", "dilation", (np.array(1), 1), (np.array(2), 1)),
        ("conv2d_backward", "padding", np.array([1, 1]), np.array([2, 1])),
        ("locally_connected2d", "stride", np.array([2, 2]), np.array([1, 1])),
        ("softmax", "dim", np.array(1), np.array(0)),
        ("layer_norm", "normalized_shape", np.array([6, 7]), np.array([7, 6])),
        ("group_norm", "num_groups", np.array(2), np.array(1)),
    ],
)
def test_numbers_in_arrays_count(name: str, option: str, value: Any, other: Any) -> None:
    """An array for an option tells numbers: two of one shape are two options."""
    call = SHORT[name]
    plan.clear()
    want = outcome(lambda: call(**{option: other}))
    plan.clear()
    assert outcome(lambda: call(**{option: value})) == outcome(call) != want
    assert outcome(lambda: call(**{option: other})) == want


def test_arrays_of_many_axes_have_no_key_or_a_whole_one() -> None:
    """A description has room for some 128 sizes: what does not fit is not found again."""
    for second in range(50, 65):
        x, w = np.ones((1,) * 64, np.float32), np.ones((1,) * second, np.float32)
        for _ in range(2):
            with pytest.raises(ValueError, match="weight"):
                fc.batch_norm(x, np.ones(1), np.ones(1), w)


def test_keys_of_different_calls_differ() -> None:
    """Neighbouring parts of a description do not run into each other."""
    x = np.ones((1, 2, 3), np.float32)
    options = [(), ((),), (0,), (False,), (None,), ("",), ("0",), ((0,),), (0, 0), ((0, 0),), ((0,), 0), (0, (0,))]
    options += [("auto",), ("auto\0",), ("a", "uto"), (("auto",),), (1,), (True,), ((1,),), (2,), (3,)]
    arrays = [(), (x,), (x[0],), (x.astype(np.float64),), (x, None), (x, x), (None,)]
    options += [(Alike(*each),) for each in arrays]
    options += [(1.0,), (0.0,), (-0.0,), (5e-324,), ((Alike(x),),), (Alike(x), 1)]
    keys = [plan._recipes.key(op, *operands, o) for op in ("a", "b") for operands in operands_of(x) for o in options]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert plan._recipes.key("a", x, x, x, (np.float64(1),)) is None
    assert plan._recipes.key("a", x, x, x, (np.int64(1),)) is None
    assert plan._recipes.key("a", x, x, x, (x,)) is None
    assert plan._recipes.key("a", x, x, x, (Alike([1.0]),)) is None


def operands_of(x: np.ndarray) -> list[tuple[Any, Any, Any]]:
    return [
        (x, x, x),
        (x, x, None),
        (x, None, x),
        (x.astype(np.float64), x, x),
        (x[0], x, x),
        (x, x[0], x),
        (x.reshape(6), x, x),
        (x.reshape(3, 2), x, x),
        (x.reshape(1, 3, 2), x, x),
        (x.reshape(1, 2, 3, 1), x, x),
    ]


def test_two_threads_that_call_first_pack_a_frozen_weight_once() -> None:
    frozen = fc.freeze_weight(np.ones((2, 2, 3, 3), np.float32))
    packed: list[object] = []

    class Slow:
        def pack(self, weight: Any, threads: int) -> Any:
            time.sleep(0.05)
            packed.append(object())
            return packed[-1]

    slow, seen = Slow(), []
    threads = [threading.Thread(target=lambda: seen.append(frozen.packed(slow, frozen.array))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(packed) == 1
    assert seen == packed * 4
