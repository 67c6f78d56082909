"""Parameter and Module: names, gradients, saving and loading, modes."""

from __future__ import annotations

import copy
import re
import threading
import warnings
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv import nn


def small_net(dtype: type = np.float32, seed: int = 0) -> nn.Sequential:
    generator = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, dtype=dtype, generator=generator),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3, dtype=dtype, generator=generator),
    )


KEYS = ["0.weight", "0.bias", "3.weight", "3.bias"]


class TestParameter:
    def test_copies_its_data(self) -> None:
        source = np.ones(3)
        parameter = nn.Parameter(source)
        source[:] = 5
        assert parameter.data.tolist() == [1, 1, 1]

    def test_makes_native_writable_contiguous_data(self) -> None:
        source = np.arange(6.0).reshape(2, 3).T.astype(">f4")
        source.setflags(write=False)
        data = nn.Parameter(source).data
        assert data.dtype == np.float32
        assert data.dtype.isnative
        assert data.flags.writeable
        assert data.flags.c_contiguous
        assert data.tolist() == [[0, 3], [1, 4], [2, 5]]

    @pytest.mark.parametrize("data", [[1, 2], [True], [1j], np.ones(2, np.longdouble), np.array([None]), "text"])
    def test_refuses_what_is_not_floating(self, data: object) -> None:
        with pytest.raises(TypeError, match=r"Parameter: data must be float16, float32 or float64, received"):
            nn.Parameter(data)

    def test_first_gradient_is_kept_and_later_ones_are_added(self) -> None:
        parameter = nn.Parameter(np.zeros(2, np.float32))
        first = np.array([1, 2], np.float32)
        parameter.add_grad(first)
        assert parameter.grad is first
        parameter.add_grad(np.array([10.0, 20.0]))
        assert parameter.grad.dtype == np.float32
        assert parameter.grad.tolist() == [11, 22]

    def test_a_read_only_gradient_is_copied(self) -> None:
        parameter = nn.Parameter(np.zeros(3))
        parameter.add_grad(np.broadcast_to(2.0, 3))
        parameter.add_grad(np.ones(3))
        assert parameter.grad is not None
        assert parameter.grad.tolist() == [3, 3, 3]

    def test_refuses_a_gradient_of_another_shape(self) -> None:
        message = "grad must have the shape of data, (2,), received grad.shape=(1,)"
        with pytest.raises(ValueError, match=re.escape(message)):
            nn.Parameter(np.zeros(2)).add_grad(np.ones(1))

    def test_gradients_from_many_threads_all_count(self) -> None:
        parameter = nn.Parameter(np.zeros(5000))
        start = threading.Barrier(8)

        def work() -> None:
            start.wait()
            for _ in range(50):
                parameter.add_grad(np.ones(5000))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        np.testing.assert_array_equal(parameter.grad, 400.0)


class TestNames:
    def test_names_and_sizes(self) -> None:
        net = nn.Sequential({"features": nn.Sequential(nn.Conv1d(1, 2, 3)), "head": nn.Linear(4, 2, bias=False)})
        assert [name for name, _ in net.named_parameters()] == ["features.0.weight", "features.0.bias", "head.weight"]
        assert [name for name, _ in net.named_modules()] == ["", "features", "features.0", "head"]
        assert sum(parameter.size for parameter in net.parameters()) == 6 + 2 + 8

    def test_a_shared_layer_is_saved_twice_and_listed_once(self) -> None:
        layer = nn.Linear(2, 2)
        net = nn.Sequential(layer, nn.ReLU(), layer)
        assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias"]
        assert list(net.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        assert len(list(net.modules())) == 3

    def test_a_parameter_is_not_overwritten_by_an_array(self) -> None:
        layer = nn.Linear(2, 2)
        with pytest.raises(TypeError, match=r"weight is a Parameter and stays one, received weight=ndarray; assign to"):
            layer.weight = np.ones((2, 2))  # type: ignore[assignment]
        layer.bias = None
        assert [name for name, _ in layer.named_parameters()] == ["weight"]

    def test_forward_must_be_written(self) -> None:
        class Unfinished(nn.Module):
            pass

        with pytest.raises(NotImplementedError, match="Unfinished must define forward"):
            Unfinished()(1)


class TestStateDict:
    def test_round_trip_gives_the_same_bits(self) -> None:
        net, other = small_net(seed=1), small_net(seed=2)
        x = np.random.default_rng(0).standard_normal((4, 1, 4, 4)).astype(np.float32)
        assert not np.array_equal(net(x), other(x))
        found = other.load_state_dict(net.state_dict())
        assert found == ([], [])
        assert list(other.state_dict()) == KEYS
        np.testing.assert_array_equal(net(x), other(x))

    def test_through_a_file_without_pickle(self, tmp_path) -> None:
        net, other = small_net(seed=1), small_net(seed=2)
        np.savez(tmp_path / "net.npz", **net.state_dict())
        with np.load(tmp_path / "net.npz", allow_pickle=False) as saved:
            other.load_state_dict(saved)
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(other.state_dict()[name], array)

    def test_copies_both_ways(self) -> None:
        net = small_net()
        state = net.state_dict()
        for array in state.values():
            array[...] = 7
        assert not any(np.any(parameter.data == 7) for parameter in net.parameters())
        net.load_state_dict(state)
        for array in state.values():
            array[...] = 8
        assert all(np.all(parameter.data == 7) for parameter in net.parameters())

    def test_loading_keeps_the_parameters_themselves(self) -> None:
        net = small_net()
        parameters = list(net.parameters())
        arrays = [parameter.data for parameter in parameters]
        net.load_state_dict(small_net(seed=3).state_dict())
        assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
        assert all(a is b.data for a, b in zip(arrays, parameters, strict=True))

    @pytest.mark.parametrize("source", ["<f2", "<f8", ">f4"])
    def test_another_floating_dtype_is_converted(self, source: str) -> None:
        net = small_net()
        net.load_state_dict({name: array.astype(source) for name, array in small_net(seed=3).state_dict().items()})
        expected = {name: array.astype(source).astype("=f4") for name, array in small_net(seed=3).state_dict().items()}
        for name, array in net.state_dict().items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, expected[name])

    def broken(self, change) -> tuple[nn.Sequential, dict[str, np.ndarray]]:
        state = small_net(seed=3).state_dict()
        change(state)
        return small_net(), state

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda s: s.pop("3.bias"), ValueError, "received state_dict without ['3.bias'] and with unexpected []"),
            (lambda s: s.update(x=1.0), ValueError, "received state_dict without [] and with unexpected ['x']"),
            (
                lambda s: s.update({"3.weight": np.ones((3, 9))}),
                ValueError,
                "'3.weight' must have shape (3, 8), received shape (3, 9)",
            ),
            (
                lambda s: s.update({"3.bias": np.ones((1, 3))}),
                ValueError,
                "'3.bias' must have shape (3,), received shape (1, 3)",
            ),
            (
                lambda s: s.update({"3.bias": np.ones(3, int)}),
                TypeError,
                "'3.bias' must be float16, float32 or float64 to go into float32, received dtype int64",
            ),
            (lambda s: s.update({"3.bias": None}), TypeError, "received dtype object"),
            (lambda s: s.update({"3.bias": np.ones(3, complex)}), TypeError, "received dtype complex128"),
        ],
    )
    def test_a_wrong_state_changes_nothing(self, change, error: type[Exception], message: str) -> None:
        net, state = self.broken(change)
        before = net.state_dict()
        with pytest.raises(error, match=re.escape(message)):
            net.load_state_dict(state)
        for name, array in net.state_dict().items():
            np.testing.assert_array_equal(array, before[name])

    def test_not_a_mapping(self) -> None:
        with pytest.raises(TypeError, match="state_dict must map names to arrays, received list"):
            small_net().load_state_dict([1, 2])  # type: ignore[arg-type]

    def test_not_strict_takes_what_fits_by_name(self) -> None:
        net = small_net()
        found = net.load_state_dict({"0.bias": np.full(2, 5.0), "more": np.ones(1)}, strict=False)
        assert found.missing_keys == ["0.weight", "3.weight", "3.bias"]
        assert found.unexpected_keys == ["more"]
        assert net.state_dict()["0.bias"].tolist() == [5, 5]

    def test_not_strict_still_checks_shapes(self) -> None:
        with pytest.raises(ValueError, match=r"'0.bias' must have shape \(2,\)"):
            small_net().load_state_dict({"0.bias": np.ones(3)}, strict=False)


class TestGradients:
    def test_are_in_no_state_of_the_layer(self) -> None:
        net = small_net()
        before = {name: list(vars(module)) for name, module in net.named_modules()}
        x = np.ones((2, 1, 4, 4), np.float32)
        y, backward = net.forward(x)
        assert {name: list(vars(module)) for name, module in net.named_modules()} == before
        assert all(parameter.grad is None for parameter in net.parameters())
        backward(np.ones_like(y))
        assert all(parameter.grad is not None for parameter in net.parameters())

    def test_add_up_until_zero_grad(self) -> None:
        net = small_net()
        x = np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype(np.float32)
        y, backward = net.forward(x)
        backward(np.ones_like(y))
        once = [parameter.grad.copy() for parameter in net.parameters()]
        backward(np.ones_like(y))
        for parameter, grad in zip(net.parameters(), once, strict=True):
            np.testing.assert_array_equal(parameter.grad, 2 * grad)
        net.zero_grad()
        assert all(parameter.grad is None for parameter in net.parameters())

    def test_skip_a_parameter_that_does_not_require_them(self) -> None:
        net = small_net()
        net[0].weight.requires_grad = False
        y, backward = net.forward(np.ones((2, 1, 4, 4), np.float32))
        backward(np.ones_like(y))
        assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == ["0.weight"]

    def test_many_threads_may_use_one_layer(self) -> None:
        net = small_net(np.float64)
        inputs = np.random.default_rng(0).integers(-3, 4, (8, 2, 1, 4, 4)).astype(np.float64)
        for array in net.parameters():
            array.data[...] = np.round(array.data * 4)  # small integers: sums are exact in any order
        answers: dict[int, np.ndarray] = {}

        def work(index: int) -> None:
            y, backward = net.forward(inputs[index])
            answers[index] = backward(np.ones_like(y))

        threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        together = [parameter.grad for parameter in net.parameters()]
        net.zero_grad()
        for index in range(8):
            y, backward = net.forward(inputs[index])
            np.testing.assert_array_equal(answers[index], backward(np.ones_like(y)))
        for parameter, grad in zip(net.parameters(), together, strict=True):
            np.testing.assert_array_equal(parameter.grad, grad)


class TestModes:
    def test_train_and_eval_reach_all_layers(self) -> None:
        net = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
        assert net.training
        assert net.eval() is net
        assert not any(module.training for module in net.modules())
        assert net.train() is net
        assert all(module.training for module in net.modules())

    def test_frozen_layers_give_the_same_answer_and_no_gradients(self) -> None:
        net = small_net()
        x = np.random.default_rng(0).standard_normal((2, 1, 4, 4)).astype(np.float32)
        y, backward = net.forward(x)
        grad_x = backward(np.ones_like(y))
        assert net.freeze() is net
        assert all(parameter.grad is None for parameter in net.parameters())
        np.testing.assert_allclose(net(x), y, rtol=1e-6)
        frozen_y, backward = net.forward(x)
        np.testing.assert_allclose(frozen_y, y, rtol=1e-6)
        np.testing.assert_allclose(backward(np.ones_like(y)), grad_x, rtol=1e-6)
        assert all(parameter.grad is None for parameter in net.parameters())

    @pytest.mark.parametrize(
        ("thaw", "thaws"),
        [
            (lambda net: net.unfreeze(), True),
            (lambda net: net.train(), True),
            (lambda net: net.load_state_dict(net.state_dict()), True),
            (lambda net: net.eval(), False),
            (lambda net: net.zero_grad(), False),
        ],
        ids=["unfreeze", "train", "load_state_dict", "eval", "zero_grad"],
    )
    def test_what_undoes_freeze(self, thaw, thaws: bool) -> None:
        net = small_net().freeze()
        x = np.ones((2, 1, 4, 4), np.float32)
        before = net(x)
        for parameter in net.parameters():
            parameter.data *= 2
        np.testing.assert_array_equal(net(x), before)
        thaw(net)
        assert net.frozen is not thaws
        assert np.array_equal(net(x), before) is not thaws
        y, backward = net.forward(x)
        backward(np.ones_like(y))
        assert all((parameter.grad is not None) is thaws for parameter in net.parameters())

    def test_a_failed_load_leaves_a_layer_frozen(self) -> None:
        net = small_net().freeze()
        with pytest.raises(ValueError, match="names must agree"):
            net.load_state_dict({})
        assert net.frozen

    def test_a_way_back_keeps_to_the_weights_of_its_frozen_call(self) -> None:
        layer = nn.Linear(2, 2, generator=0).freeze()
        x = np.ones((1, 2), np.float32)
        weight = layer.weight.data.copy()
        y, backward = layer.forward(x)
        layer.unfreeze()
        layer.weight.data *= 3
        np.testing.assert_allclose(backward(np.ones_like(y)), weight.sum(0, keepdims=True))
        assert layer.weight.grad is None

    def test_a_copy_is_independent(self) -> None:
        net = small_net()
        twin = copy.deepcopy(net)
        twin[0].weight.data[...] = 0
        assert np.any(net[0].weight.data)


def test_no_warnings_from_a_training_step() -> None:
    net, loss_fn = small_net(), nn.CrossEntropyLoss()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y, backward = net.forward(np.ones((2, 1, 4, 4), np.float32), needs_input_grad=False)
        loss, grad = loss_fn(y, np.array([0, 2]))
        assert backward(grad) is None
    assert np.isfinite(loss)


def test_a_parameter_is_an_array_to_numpy() -> None:
    layer = nn.Conv2d(1, 2, 3, generator=0)
    assert np.asarray(layer.weight) is layer.weight.data
    assert np.array(layer.weight) is not layer.weight.data
    assert np.asarray(layer.weight, np.float64).dtype == np.float64
    assert not np.may_share_memory(np.array(layer.weight), layer.weight.data)
    with pytest.raises(ValueError, match="copy"):
        layer.weight.__array__(np.float64, copy=False)
    x = np.ones((1, 1, 5, 5), np.float32)
    np.testing.assert_array_equal(F.conv2d(x, layer.weight, layer.bias), layer(x))  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.asarray(nn.BatchNorm1d(2).running_var), np.ones(2))


def test_what_a_module_of_ones_own_gets_wrong() -> None:
    """As torch has it, or without the way back: a first sample would be taken for the output."""

    class TorchStyle(nn.Module):
        def forward(self, input: Any) -> Any:  # type: ignore[override]
            return input

    class WithoutWayBack(nn.Module):
        def forward(self, input: Any, *, needs_input_grad: bool = True) -> Any:
            return input

    with pytest.raises(TypeError, match="needs_input_grad") as caught:
        TorchStyle()(np.ones(3))
    assert caught.value.__notes__ == ["write TorchStyle.forward(self, input, *, needs_input_grad=True)"]
    for x in (np.ones((2, 3)), np.ones(3), (1, 2, 3)):
        with pytest.raises(TypeError, match="WithoutWayBack: forward must return the output and the way back"):
            WithoutWayBack()(x)
        for net in (nn.Sequential(WithoutWayBack()), nn.Residual(WithoutWayBack()), nn.Parallel(WithoutWayBack())):
            with pytest.raises(TypeError, match="WithoutWayBack: forward must return the output and the way back"):
                net.forward(x)


def test_layers_in_lists_are_refused() -> None:
    """They would be found nowhere: not in training, not in files."""

    class Listed(nn.Module):
        def __init__(self, held: Any) -> None:
            self.sizes = [1, 2]
            self.layers = held

    for held in ([nn.Linear(1, 1)], {"a": nn.Linear(1, 1)}, [nn.Parameter(np.ones(1))]):
        with pytest.raises(TypeError, match=r"Listed: layers and parameters in a list or dict.* hold layers in a Seq"):
            Listed(held)
    assert len(list(Listed(nn.Sequential(nn.Linear(1, 1))).parameters())) == 2


def test_switches_are_true_or_false() -> None:
    layer = nn.Linear(1, 1)
    with pytest.raises(TypeError, match="train: mode must be True or False, received mode='yes'"):
        layer.train("yes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="load_state_dict: strict must be True or False, received strict='no'"):
        layer.load_state_dict({}, strict="no")  # type: ignore[arg-type]


def test_what_cannot_be_read_is_named_in_a_state() -> None:
    class Unreadable:
        def __array__(self, *_: Any, **__: Any) -> Any:
            raise RuntimeError("no such dtype")

    with pytest.raises(TypeError, match="load_state_dict: 'weight' cannot be read as an array: no such dtype"):
        nn.Linear(2, 1).load_state_dict({"weight": Unreadable(), "bias": np.ones(1)})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match="relu: input cannot be read as an array: no such dtype"):
        F.relu(Unreadable())  # type: ignore[arg-type]
