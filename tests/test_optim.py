"""Optimizers: update rules by hand, groups, resuming, arguments that cannot be. Torch compares in oracles/."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
from helpers import ISAS

import fastconv as fc
from fastconv import nn
from fastconv._config import isa_limit
from fastconv.optim import SGD, Adagrad, Adam, AdamW, Optimizer, RMSprop

#: Every optimizer, with options that use all of its state.
ALL: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "nesterov": True}),
    (Adagrad, {"lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    (RMSprop, {}),
    (RMSprop, {"momentum": 0.9, "centered": True, "weight_decay": 0.1}),
    (Adam, {}),
    (Adam, {"amsgrad": True, "weight_decay": 0.1}),
    (AdamW, {}),
]
each = pytest.mark.parametrize(("kind", "options"), ALL, ids=str)


def steps(gradients: list[float], kind: type[Optimizer] = SGD, **options: Any) -> list[float]:
    """Return the values of a parameter that starts at 1, after each gradient."""
    parameter = nn.Parameter(np.ones(1))
    optimizer = kind([parameter], **options)
    values = []
    for gradient in gradients:
        optimizer.zero_grad()
        parameter.add_grad(np.array([gradient]))
        optimizer.step()
        values.append(float(parameter.data[0]))
    return values


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"lr": 0.5}, [0.5, -0.5]),
        ({"lr": 0.5, "weight_decay": 0.5}, [0.25, -0.8125]),
        ({"lr": 0.5, "momentum": 0.5}, [0.5, -0.75]),
        ({"lr": 0.5, "momentum": 0.5, "dampening": 0.5}, [0.5, -0.25]),
        ({"lr": 0.5, "momentum": 0.5, "nesterov": True}, [0.25, -1.375]),
    ],
    ids=str,
)
def test_two_steps_by_hand(options: dict[str, Any], expected: list[float]) -> None:
    assert steps([1.0, 2.0], **options) == expected


def test_adaptive_steps_by_hand() -> None:
    """Two steps of 1 and -2, by the rules as they stand in the docstrings."""
    assert steps([1.0, -2.0], Adagrad, lr=0.5, eps=0) == pytest.approx([0.5, 0.5 + 1 / math.sqrt(5)])
    assert steps([1.0, -2.0], Adagrad, lr=0.5, eps=0, lr_decay=1) == pytest.approx([0.5, 0.5 + 0.5 / math.sqrt(5)])
    first, second = 1 - 0.5 / math.sqrt(0.25), 0.5 * 2 / math.sqrt(0.75 * 0.25 + 1)
    assert steps([1.0, -2.0], RMSprop, lr=0.5, alpha=0.75, eps=0) == pytest.approx([first, first + second])
    m, v = (0.5 * 0.5 - 0.5 * 2) / (1 - 0.5**2), (0.75 * 0.25 + 0.25 * 4) / (1 - 0.75**2)
    adam = steps([1.0, -2.0], Adam, lr=0.5, betas=(0.5, 0.75), eps=0)
    assert adam == pytest.approx([0.5, 0.5 - 0.5 * m / math.sqrt(v)])
    largest = steps([2.0, 0.0], Adam, lr=0.5, betas=(0.5, 0.75), eps=0, amsgrad=True)
    assert largest == pytest.approx([0.5, 0.5 - 0.5 * (0.5 / 0.75) / math.sqrt(1 / (1 - 0.75**2))])
    decayed = steps([1.0], AdamW, lr=0.5, eps=0, weight_decay=0.5)
    assert decayed == pytest.approx([0.75 - 0.5])


@each
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_changes_in_place_and_keeps_dtype(kind: type[Optimizer], options: dict[str, Any], dtype: type) -> None:
    parameter = nn.Parameter(np.ones(3, dtype))
    array = parameter.data
    optimizer = kind([parameter], lr=np.float64(0.5), **options)
    for _ in range(3):
        parameter.grad = np.ones(3, dtype)
        optimizer.lr = np.float64(0.25)
        optimizer.step()
        assert parameter.grad.tolist() == [1, 1, 1]
    assert parameter.data is array
    assert array.dtype == dtype
    assert np.all(array < 1)


@each
def test_any_layout_and_any_size(kind: type[Optimizer], options: dict[str, Any]) -> None:
    """Turned arrays and such as are longer than a block step like a copy of them, element by element."""
    rng = np.random.default_rng(0)
    shape = (257, 129)
    start, grads = rng.standard_normal(shape), rng.standard_normal((3, *shape))
    plain, turned, single = nn.Parameter(start), nn.Parameter(start), nn.Parameter(start[-1, -1:])
    turned.data = np.asfortranarray(turned.data)
    array = turned.data
    optimizers = [kind([parameter], **options) for parameter in (plain, turned, single)]
    for grad in grads:
        plain.grad, turned.grad, single.grad = grad, np.asfortranarray(grad), grad[-1, -1:]
        for optimizer in optimizers:
            optimizer.step()
    assert turned.data is array
    np.testing.assert_array_equal(plain.data, turned.data)
    assert plain.data[-1, -1] == single.data[0]
    assert not np.array_equal(plain.data, start)


def trained(kind: type[Optimizer], options: dict[str, Any], size: int, dtype: Any) -> np.ndarray:
    """The parameters after three steps."""
    rng = np.random.default_rng(size)
    parameter = nn.Parameter(rng.standard_normal(size).astype(dtype))
    optimizer = kind([parameter], **options)
    for grad in rng.standard_normal((3, size)).astype(dtype):
        parameter.grad = grad
        optimizer.step()
    return parameter.data


@each
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_instruction_set(kind: type[Optimizer], options: dict[str, Any], dtype: Any, isa: str) -> None:
    for size in (1, 2, 5, 16, 37):
        with isa_limit("baseline"):
            expected = trained(kind, options, size, np.float64)
        with isa_limit(isa):
            found = trained(kind, options, size, dtype)
        if dtype == np.float64:
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
        else:  # from the same draws, rounded
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@each
def test_the_same_bits_at_any_number_of_threads(kind: type[Optimizer], options: dict[str, Any]) -> None:
    results = []
    for count in (1, 2, 3):
        with fc.threads(count):
            results.append(trained(kind, options, 100_003, np.float32))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@each
def test_a_resumed_run_has_the_same_bits(kind: type[Optimizer], options: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal((2, 5)).astype(np.float32), rng.standard_normal((8, 2, 5)).astype(np.float32)

    def run(parameters: list[nn.Parameter], optimizer: Optimizer, some: np.ndarray) -> None:
        for count, grad in enumerate(some):
            for parameter, part in zip(parameters, grad, strict=True):
                parameter.grad = None if count == 0 else part
            optimizer.step()

    straight = [nn.Parameter(row) for row in start]
    optimizer = kind(straight, lr=0.1, **options)
    run(straight, optimizer, grads[:4])
    saved, values = optimizer.state_dict(), [parameter.data.copy() for parameter in straight]
    run(straight, optimizer, grads[4:])

    resumed = [nn.Parameter(row) for row in values]
    other = kind(resumed)
    other.load_state_dict(saved)
    assert other.lr == 0.1
    run(resumed, other, grads[4:])
    for ours, theirs in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_what_is_saved_is_a_copy() -> None:
    parameter = nn.Parameter(np.ones(2))
    optimizer = Adam([parameter])
    assert optimizer.state_dict()["state"] == {}
    parameter.grad = np.ones(2)
    optimizer.step()
    saved = optimizer.state_dict()
    kept = saved["state"][0]["exp_avg"].copy()
    optimizer.step()
    assert saved["state"][0]["step"] == 1
    np.testing.assert_array_equal(saved["state"][0]["exp_avg"], kept)
    other = Adam([nn.Parameter(np.ones(2))])
    other.load_state_dict(saved)
    other.params[0].grad = np.ones(2)
    other.step()
    np.testing.assert_array_equal(saved["state"][0]["exp_avg"], kept)


def test_refuses_states_that_do_not_fit_and_stays_as_it_was() -> None:
    parameter = nn.Parameter(np.ones(2))
    optimizer = Adam([parameter], lr=0.25)
    parameter.grad = np.ones(2)
    optimizer.step()
    good = optimizer.state_dict()
    other = {"step": 1, "exp_avg": np.ones(3), "exp_avg_sq": np.ones(2)}
    bad: list[tuple[Any, type[Exception], str]] = [
        ({}, TypeError, "must be a dict with 'state' and 'param_groups'"),
        ([], TypeError, "received list"),
        ({**good, "param_groups": []}, ValueError, r"must hold the parameters \[\[0\]\], received \[\]"),
        ({**good, "param_groups": [{"params": [0]}]}, ValueError, "param_groups must have 'lr'"),
        ({**good, "state": {0: other}}, ValueError, r"'exp_avg' must be a floating array of shape \(2,\)"),
        ({**good, "state": {1: {}}}, ValueError, "state must have keys from 0 to 0, received 1"),
        ({**good, "param_groups": [{**good["param_groups"][0], "lr": -1}]}, ValueError, "lr must be .*received lr=-1"),
    ]
    for state, error, message in bad:
        with pytest.raises(error, match=f"^Adam.*{message}"):
            optimizer.load_state_dict(state)
        assert optimizer.lr == 0.25
        np.testing.assert_array_equal(optimizer.state_dict()["state"][0]["exp_avg"], good["state"][0]["exp_avg"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state": 3}, "state must be a dict of dicts"),
        ({"state": {0: 3}}, "state must be a dict of dicts"),
        ({"param_groups": 3}, "param_groups must be dicts"),
        ({"param_groups": [{"lr": 0.1}]}, "param_groups must be dicts"),
    ],
)
def test_refuses_what_is_no_state(changes: dict[str, Any], message: str) -> None:
    optimizer = SGD([nn.Parameter([1.0])])
    with pytest.raises(TypeError, match=message):
        optimizer.load_state_dict(optimizer.state_dict() | changes)


def test_refuses_gradients_and_parameters_that_cannot_be() -> None:
    parameter = nn.Parameter(np.ones((2, 3)))
    optimizer = Adam([parameter])
    for grad in (np.ones((3, 2)), np.ones(6), np.ones(())):
        parameter.grad = grad
        with pytest.raises(ValueError, match=r"Adam: gradients must have the shape of their parameter, \(2, 3\)"):
            optimizer.step()
    parameter.grad = np.ones((2, 3), complex)
    with pytest.raises(TypeError, match="Adam: gradients must be real numbers, received one of dtype complex128"):
        optimizer.step()
    parameter.grad = np.ones((2, 3))
    parameter.data = np.ones((3, 2))
    with pytest.raises(ValueError, match=r"Adam: the state must have the shape of its parameter, \(3, 2\)"):
        optimizer.step()
    parameter.data = np.broadcast_to(1.0, (2, 3))
    with pytest.raises(ValueError, match="Adam: parameters must be writeable"):
        optimizer.step()
    empty = nn.Parameter(np.ones((0, 3)))
    empty.grad = np.ones((0, 3))
    SGD([empty], momentum=0.9).step()


@each
def test_a_parameter_may_be_a_single_number(kind: type[Optimizer], options: dict[str, Any]) -> None:
    """Without axes: it steps, is saved and goes on as one of shape (1,) does."""
    number, row = nn.Parameter(np.array(1.0)), nn.Parameter(np.ones(1))
    optimizers = [kind([parameter], **options) for parameter in (number, row)]
    for grad in (0.5, -2.0, 3.0):
        number.grad, row.grad = np.array(grad), np.array([grad])
        for optimizer in optimizers:
            optimizer.step()
        saved = optimizers[0].state_dict()
        assert all(array.shape == () for name, array in saved["state"][0].items() if name != "step")
        optimizers[0] = kind([number], **options)
        optimizers[0].load_state_dict(saved)
    assert number.data == row.data[0] != 1.0


def test_adam_without_a_mean_takes_the_gradient_itself() -> None:
    """With b1 = 0 nothing of a large gradient may linger, not even its rounding."""
    parameter = nn.Parameter(np.ones(1, np.float32))
    optimizer = Adam([parameter], betas=(0.0, 0.5))
    for grad in (1e8, 0.25):
        parameter.grad = np.full(1, grad, np.float32)
        optimizer.step()
    assert optimizer.state_dict()["state"][0]["exp_avg"] == 0.25


@each
def test_refuses_options_set_to_what_they_cannot_be(kind: type[Optimizer], options: dict[str, Any]) -> None:
    """A learning rate of NaN, or read from a text, must not get into the weights."""
    parameter = nn.Parameter(np.ones(3))
    optimizer = kind([parameter], **options)
    parameter.grad = np.ones(3)
    for rate, error in ((math.nan, ValueError), (-1.0, ValueError), ("0.1", TypeError), (None, TypeError)):
        optimizer.param_groups[0]["lr"] = rate
        with pytest.raises(error, match=f"{kind.__name__}: lr must be"):
            optimizer.step()
    np.testing.assert_array_equal(parameter.data, 1.0)
    assert optimizer.state_dict()["state"] == {}


@each
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_copies_go_on_with_the_same_bits(kind: type[Optimizer], options: dict[str, Any], copied: Any) -> None:
    layer = nn.Linear(3, 2, generator=0)
    optimizer = kind(layer.parameters(), **options)
    grads = np.random.default_rng(0).standard_normal((2, 2, 3)).astype(np.float32)

    def step(layer: nn.Linear, optimizer: Optimizer, grad: Any) -> None:
        layer.weight.grad = grad
        optimizer.step()

    step(layer, optimizer, grads[0])
    other, other_optimizer = copied((layer, optimizer))
    for pair in ((layer, optimizer), (other, other_optimizer)):
        step(*pair, grads[1])
    np.testing.assert_array_equal(layer.weight.data, other.weight.data)
    assert other.weight is not layer.weight


def test_a_parameter_may_take_another_dtype() -> None:
    """Its state follows: the engine reads both as one dtype."""
    parameter = nn.Parameter(np.ones(1000, np.float32))
    optimizer = Adam([parameter])
    for dtype in (np.float32, np.float64, np.float16, np.float32):
        parameter.data, parameter.grad = parameter.data.astype(dtype), np.ones(1000, dtype)
        optimizer.step()
        assert parameter.dtype == dtype
        assert optimizer.state_dict()["state"][0]["exp_avg"].dtype == (
            np.float64 if dtype == np.float64 else np.float32
        )
    np.testing.assert_allclose(parameter.data, 1 - 4e-3, rtol=1e-3)


def test_amsgrad_may_be_switched_on_later() -> None:
    parameter = nn.Parameter(np.ones(2))
    optimizer = Adam([parameter])
    parameter.grad = np.ones(2)
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step()
    assert set(optimizer.state_dict()["state"][0]) == {"step", "exp_avg", "exp_avg_sq", "max_exp_avg_sq"}


def test_groups_have_options_of_their_own() -> None:
    slow, fast, late = (nn.Parameter(np.ones(1)) for _ in range(3))
    optimizer = SGD([{"params": [slow], "lr": 0.25}, {"params": fast}], lr=0.5)
    optimizer.add_param_group({"params": [late], "weight_decay": 1.0})
    for parameter in (slow, fast, late):
        parameter.grad = np.ones(1)
    optimizer.step()
    assert [parameter.data[0] for parameter in (slow, fast, late)] == [0.75, 0.5, 0.0]
    assert optimizer.params == [slow, fast, late]
    optimizer.lr = 1.0
    assert [group["lr"] for group in optimizer.param_groups] == [1.0, 1.0, 1.0]
    assert repr(optimizer).startswith("SGD(\n  0: lr=1.0, momentum=0.0")


def test_refuses_groups() -> None:
    with pytest.raises(ValueError, match="SGD: params must be in one group each"):
        SGD([{"params": [ONE]}, {"params": [ONE]}])
    with pytest.raises(ValueError, match=r"options .*'lr'.*, received 'betas'"):
        SGD([{"params": [ONE], "betas": (0, 0)}])
    with pytest.raises(TypeError, match="must be a dict with the key 'params'"):
        SGD([{"lr": 1}])
    with pytest.raises(TypeError, match="must be a dict with the key 'params'"):
        SGD([ONE]).add_param_group([ONE])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="SGD: lr must be finite and at least 0, received lr=-1"):
        SGD([ONE]).lr = -1


def test_passes_over_parameters_without_gradient() -> None:
    parameters = [nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))]
    optimizer = SGD(parameters, lr=0.5, momentum=0.9, weight_decay=0.5)
    parameters[1].add_grad(np.ones(1))
    optimizer.step()
    assert parameters[0].data.tolist() == [1]
    assert parameters[1].data.tolist() == [0.25]


def test_a_shared_parameter_steps_once() -> None:
    parameter = nn.Parameter(np.ones(1))
    optimizer = SGD([parameter, parameter], lr=0.5)
    parameter.add_grad(np.ones(1))
    optimizer.step()
    assert parameter.data.tolist() == [0.5]


def test_zero_grad() -> None:
    layer = nn.Linear(2, 2)
    optimizer = SGD(layer.parameters())
    y, backward = layer.forward(np.ones((1, 2), np.float32))
    backward(y)
    optimizer.zero_grad()
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_finds_the_least_squares() -> None:
    generator = np.random.default_rng(0)
    x, wanted = generator.standard_normal((50, 3)), np.array([[1.0, -2.0, 3.0]])
    layer = nn.Linear(3, 1, dtype=np.float64, generator=1)
    optimizer = SGD(layer.parameters(), lr=0.1, momentum=0.9)
    for _ in range(500):
        optimizer.zero_grad()
        y, backward = layer.forward(x, needs_input_grad=False)
        backward((y - (x @ wanted.T + 0.5)) / len(x))
        optimizer.step()
    np.testing.assert_allclose(layer.weight.data, wanted, atol=1e-6)
    np.testing.assert_allclose(layer.bias.data, [0.5], atol=1e-6)


ONE = nn.Parameter(np.ones(1))


@pytest.mark.parametrize(
    ("params", "options", "error", "message"),
    [
        ([], {}, ValueError, "params must hold a Parameter at least"),
        ([np.ones(1)], {}, TypeError, "params must hold Parameters, received one of type ndarray"),
        ([("weight", ONE)], {}, TypeError, "received one of type tuple"),
        (nn.ReLU(), {}, TypeError, "params must be an iterable of Parameters.*received params=ReLU"),
        ([ONE], {"lr": -1}, ValueError, "lr must be finite and at least 0, received lr=-1"),
        ([ONE], {"lr": math.nan}, ValueError, "received lr=nan"),
        ([ONE], {"lr": math.inf}, ValueError, "received lr=inf"),
        ([ONE], {"lr": 10**400}, ValueError, "lr must be finite"),
        ([ONE], {"lr": "fast"}, TypeError, "lr must be a number, received lr='fast'"),
        ([ONE], {"lr": None}, TypeError, "received lr=None"),
        ([ONE], {"momentum": -0.1}, ValueError, "received momentum=-0.1"),
        ([ONE], {"momentum": True}, TypeError, "received momentum=True"),
        ([ONE], {"weight_decay": -1e-4}, ValueError, "received weight_decay=-0.0001"),
        ([ONE], {"dampening": math.nan}, ValueError, "received dampening=nan"),
        ([ONE], {"nesterov": True}, ValueError, "nesterov needs momentum above 0"),
        ([ONE], {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "and dampening of 0"),
    ],
)
def test_refuses(params: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^SGD: .*{message}"):
        SGD(params, **options)


@pytest.mark.parametrize(
    ("kind", "options", "error", "message"),
    [
        (
            Adam,
            {"betas": (0.9, 1.0)},
            ValueError,
            r"betas must be finite and at least 0 and below 1, received betas=\(0",
        ),
        (Adam, {"betas": 0.9}, ValueError, "betas must be two numbers, received betas=0.9"),
        (Adam, {"betas": (0.9, "x")}, TypeError, "betas must be a number"),
        (AdamW, {"eps": -1}, ValueError, "eps must be finite and at least 0, received eps=-1"),
        (Adam, {"amsgrad": 1}, TypeError, "amsgrad must be True or False, received amsgrad=1"),
        (RMSprop, {"alpha": math.inf}, ValueError, "received alpha=inf"),
        (RMSprop, {"centered": None}, TypeError, "centered must be True or False"),
        (Adagrad, {"initial_accumulator_value": -1}, ValueError, "received initial_accumulator_value=-1"),
        (Adagrad, {"lr_decay": "1"}, TypeError, "lr_decay must be a number, received lr_decay='1'"),
    ],
)
def test_adaptive_ones_refuse(
    kind: type[Optimizer], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{kind.__name__}: .*{message}"):
        kind([ONE], **options)


def test_representation() -> None:
    assert repr(SGD([ONE], 0.1)) == "SGD(lr=0.1, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)"
