"""What all optimizers share: groups of parameters, their state, saving and loading, steps on the engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv import _engine, _lowering, plan
from fastconv._threads import current
from fastconv.nn.module import Parameter

__all__ = ["Optimizer", "Params", "State"]

Array: TypeAlias = NDArray[Any]
Params: TypeAlias = Iterable[Parameter | Mapping[str, Any]]


class Optimizer:
    """The base of all optimizers. A new one gives its options to `__init__` and writes `_check` and `_rule`.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
        Such as ``net.parameters()``. Dicts are groups: ``{"params": parameters, "lr": 0.01}`` has options of its own
        and takes the others from `defaults`.
    defaults : dict
        Options and their values.

    Attributes
    ----------
    param_groups : list of dicts
        The groups, with all their options: what the next step uses. They may be changed between steps.

    Raises
    ------
    TypeError
        When `params` holds something else than parameters or groups, or an option is not of its type.
    ValueError
        When there are no parameters, one is in two groups, or an option is out of its range.
    """

    def __init__(self, params: Params, defaults: dict[str, Any]) -> None:
        self._defaults = self._checked(defaults)
        self._state: dict[Parameter, State] = {}  # by the parameters themselves, so that copies keep it
        self.param_groups: list[dict[str, Any]] = []
        for group in self._groups(params):
            self.add_param_group(group)

    # -- groups --

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own, such as ``{"params": layer.parameters(), "lr": 0.01}``."""
        name = type(self).__name__
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"{name}: a group of params must be a dict with the key 'params', received {param_group!r}")
        options = {key: value for key, value in param_group.items() if key != "params"}
        unknown = [key for key in options if key not in self._defaults]
        if unknown:
            raise ValueError(
                f"{name}: a group of params may have the options {list(self._defaults)}, received {unknown[0]!r}"
            )
        given = param_group["params"]
        parameters = _parameters(name, [given] if isinstance(given, Parameter) else given)
        taken = {id(parameter) for parameter in self.params}
        if any(id(parameter) in taken for parameter in parameters):
            raise ValueError(f"{name}: params must be in one group each, received one that is in two")
        self.param_groups.append({"params": parameters, **self._checked({**self._defaults, **options})})

    @property
    def params(self) -> list[Parameter]:
        """All parameters, group by group."""
        return [parameter for group in self.param_groups for parameter in group["params"]]

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets that of all groups."""
        return float(self.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        rate = number(type(self).__name__, "lr", value)
        for group in self.param_groups:
            group["lr"] = rate

    # -- steps --

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters (sets them to None)."""
        for parameter in self.params:
            parameter.grad = None

    def step(self) -> None:
        """Change every parameter that has a gradient, in place. Gradients stay as they are.

        Raises
        ------
        TypeError
            When an option of a group was set to what is none, or a gradient does not hold real numbers.
        ValueError
            When an option is out of its range, a gradient has another shape than its parameter, or a parameter is
            read-only.
        """
        name, last, values = type(self).__name__, None, np.empty(0)
        for group in self.param_groups:
            self._check({option: group.get(option) for option in self._defaults})  # they may have been changed
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self._state.setdefault(parameter, State())
                rule, names, numbers = self._rule(group, state)
                state.step += 1
                if numbers != last:  # mostly they are those of the parameter before
                    last, values = numbers, np.array([*numbers, *(0.0,) * (8 - len(numbers))])
                _update(name, rule, parameter, state.rows_of(name, names, parameter), values)

    def _rule(self, group: dict[str, Any], state: State) -> tuple[str, dict[str, float], list[float]]:
        """Return the name of the rule (src/updates.inc), its state's names and first values, and its numbers."""
        raise NotImplementedError(f"{type(self).__name__} must define _rule")

    def _check(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return checked options."""
        raise NotImplementedError(f"{type(self).__name__} must define _check")

    def _checked(self, options: dict[str, Any]) -> dict[str, Any]:
        return self._check(dict(options))

    # -- saving and loading --

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all that a resumed run needs besides the parameters.

        Returns
        -------
        dict
            ``"state"``: for each parameter that has stepped, by its number, a dict of arrays and of its count of steps.
            ``"param_groups"``: the options of each group, and the numbers of its parameters. Only dicts, lists, arrays,
            numbers, strings and None.

        Examples
        --------
        >>> from fastconv import nn, optim
        >>> layer = nn.Linear(2, 1)
        >>> optimizer = optim.Adam(layer.parameters(), lr=0.01)
        >>> optimizer.state_dict()["param_groups"][0]["lr"], optimizer.state_dict()["param_groups"][0]["params"]
        (0.01, [0, 1])
        """
        numbers = {parameter: index for index, parameter in enumerate(self.params)}
        return {
            "state": {
                number: state.saved()
                for parameter, number in numbers.items()
                if (state := self._state.get(parameter)) is not None
            },
            "param_groups": [
                {**group, "params": [numbers[parameter] for parameter in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what ``state_dict()`` gave, so that the run goes on with the same bits.

        All is checked before anything changes.

        Parameters
        ----------
        state_dict : dict
            From an optimizer of the same class over parameters of the same shapes, in the same groups.

        Raises
        ------
        TypeError
            When `state_dict` is not such a dict.
        ValueError
            When groups, parameters or shapes differ.
        """
        name = type(self).__name__
        if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= set(state_dict):
            raise TypeError(
                f"{name}.load_state_dict: state_dict must be a dict with 'state' and 'param_groups', received "
                f"{list(state_dict) if isinstance(state_dict, Mapping) else type(state_dict).__name__}"
            )
        groups, numbers = state_dict["param_groups"], iter(range(len(self.params)))
        if not isinstance(groups, list | tuple) or not all(isinstance(g, Mapping) and "params" in g for g in groups):
            raise TypeError(f"{name}.load_state_dict: param_groups must be dicts with 'params', received {groups!r}")
        ours = [[next(numbers) for _ in group["params"]] for group in self.param_groups]
        theirs = [list(group["params"]) for group in groups]
        if ours != theirs:
            raise ValueError(f"{name}.load_state_dict: param_groups must hold the parameters {ours}, received {theirs}")
        options = []
        for group, loaded in zip(self.param_groups, groups, strict=True):
            found = {key: value for key, value in loaded.items() if key in self._defaults}
            missing = [key for key in self._defaults if key not in found]
            if missing:
                raise ValueError(f"{name}.load_state_dict: param_groups must have {missing[0]!r}, received {loaded}")
            extra = {key: value for key, value in loaded.items() if key not in found and key != "params"}
            options.append({"params": group["params"], **self._checked(found), **extra})
        states = {
            self.params[number]: State.loaded(f"{name}.load_state_dict", state, self.params[number])
            for number, state in self._numbered(state_dict["state"])
        }
        self.param_groups[:] = options
        self._state = states

    def _numbered(self, states: Any) -> list[tuple[int, Mapping[str, Any]]]:
        if not isinstance(states, Mapping) or not all(isinstance(state, Mapping) for state in states.values()):
            raise TypeError(
                f"{type(self).__name__}.load_state_dict: state must be a dict of dicts, received {states!r:.80}"
            )
        found = []
        for key, state in states.items():
            if not str(key).isdigit() or int(key) >= len(self.params):  # a file may have made strings of numbers
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: state must have keys from 0 to {len(self.params) - 1}, "
                    f"received {key!r}"
                )
            found.append((int(key), state))
        return found

    def __repr__(self) -> str:
        options = [", ".join(f"{key}={group[key]}" for key in self._defaults) for group in self.param_groups]
        name = type(self).__name__
        if len(options) == 1:
            return f"{name}({options[0]})"
        return "\n".join([f"{name}(", *(f"  {index}: {text}" for index, text in enumerate(options)), ")"])

    @staticmethod
    def _groups(params: Any) -> list[Mapping[str, Any]]:
        given = list(params) if isinstance(params, Iterable) and not isinstance(params, Mapping | str) else params
        if isinstance(given, list) and given and all(isinstance(item, Mapping) for item in given):
            return given
        return [{"params": given}]


# ---------------------------------------------------------------------------------------------------- updates


class State:
    """What an optimizer remembers of one parameter: the count of its steps, and named arrays as rows of one."""

    def __init__(self) -> None:
        self.step = 0
        self.names: tuple[str, ...] = ()
        self.rows: Array | None = None

    def rows_of(self, owner: str, names: dict[str, float], parameter: Parameter) -> Array | None:
        """Return the arrays of these names, which are made, with their first values, where there are none."""
        held, dtype = self.rows, compute_dtype(parameter)
        if held is not None and held.shape[1:] != parameter.shape:
            raise ValueError(
                f"{owner}: the state must have the shape of its parameter, {parameter.shape}, received {held.shape[1:]}"
            )
        if self.names != tuple(names) or (held is not None and held.dtype != dtype):
            rows: Array = np.empty((len(names), *parameter.shape), dtype)
            for row, (name, first) in enumerate(names.items()):  # by number: rows of a single number are no views
                rows[row] = held[self.names.index(name)] if held is not None and name in self.names else first
            self.names, self.rows = tuple(names), rows
        return self.rows

    def saved(self) -> dict[str, Any]:
        """Return copies of all, under their names."""
        rows: Any = [] if self.rows is None else self.rows
        return {"step": self.step, **{name: np.array(row) for name, row in zip(self.names, rows, strict=True)}}

    @classmethod
    def loaded(cls, name: str, saved: Mapping[str, Any], parameter: Parameter) -> State:
        """Return the state that `saved` gave, checked."""
        state = cls()
        state.step = check.integer(name, "step", saved.get("step"), 0)
        arrays = {key: np.asarray(value) for key, value in saved.items() if key != "step"}
        for key, array in arrays.items():
            if array.dtype.kind != "f" or array.shape != parameter.shape:
                raise ValueError(
                    f"{name}: {key!r} must be a floating array of shape {parameter.shape}, received one of dtype "
                    f"{array.dtype} and shape {array.shape}"
                )
        if arrays:
            state.names = tuple(arrays)
            state.rows = np.array(list(arrays.values()), compute_dtype(parameter))
        return state


def compute_dtype(parameter: Parameter) -> np.dtype[Any]:
    """Return the dtype of updates and state: float32 for float16, whose range a mean of squares would leave."""
    return np.dtype(np.float32) if parameter.dtype == np.float16 else parameter.dtype


def _update(name: str, rule: str, parameter: Parameter, rows: Array | None, values: Array) -> None:
    """Let the engine change a parameter and the rows of its state in place."""
    data, grad = parameter.data, parameter.grad
    if not data.flags.writeable:
        raise ValueError(f"{name}: parameters must be writeable, received one of shape {data.shape} that is read-only")
    known: _engine.Plan | None = plan.recall("optimize", data, grad, None, (rule,))
    if known is not None:
        known.run(grad, rows, values, data, current())
        return
    grad = np.asarray(grad)
    if grad.shape != data.shape:
        raise ValueError(
            f"{name}: gradients must have the shape of their parameter, {data.shape}, received one of {grad.shape}"
        )
    if grad.dtype.kind not in "fiub":
        raise TypeError(f"{name}: gradients must be real numbers, received one of dtype {grad.dtype}")
    if data.size == 0:
        return
    dtype = compute_dtype(parameter)
    target = np.require(data, dtype, ["C", "A"])  # data itself, where the engine can write into it
    grad = np.require(grad, dtype, ["C", "A"])
    found = plan.recipe_of(
        "optimize", (target, grad, None), (rule,), lambda: _lowering.optimize_plan(rule, target.size, dtype)
    )
    found.run(grad, rows, values, target, current())
    if target is not data:
        data[...] = target


# ---------------------------------------------------------------------------------------------------- checks


def _parameters(name: str, params: Any) -> list[Parameter]:
    if not isinstance(params, Iterable) or isinstance(params, str | Mapping):
        raise TypeError(
            f"{name}: params must be an iterable of Parameters such as net.parameters(), or of groups, "
            f"received params={type(params).__name__}"
        )
    unique: dict[int, Parameter] = {}  # a shared parameter must not step twice
    for parameter in params:
        if not isinstance(parameter, Parameter):
            raise TypeError(
                f"{name}: params must hold Parameters, received one of type {type(parameter).__name__}; "
                f"use net.parameters()"
            )
        unique[id(parameter)] = parameter
    if not unique:
        raise ValueError(f"{name}: params must hold a Parameter at least, received an empty params")
    return list(unique.values())


def number(
    name: str, option: str, value: Any, minimum: float = 0.0, below: float = math.inf, *, shown: Any = None
) -> float:
    """Return an option as a float that is finite, at least `minimum` and less than `below`."""
    received = value if shown is None else shown
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}: {option} must be a number, received {option}={received!r}")
    try:
        found = float(value)
    except OverflowError:  # an int beyond any float
        found = math.inf
    if not math.isfinite(found) or not minimum <= found < below:
        rule = f"at least {minimum:g}" if below == math.inf else f"at least {minimum:g} and below {below:g}"
        raise ValueError(f"{name}: {option} must be finite and {rule}, received {option}={received}")
    return found
