"""A run in a file: nested dicts, lists, numbers and arrays as one npz archive, without pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import numpy as np
from numpy.typing import NDArray

from fastconv import _check as check
from fastconv._files import read_npz, write_npz
from fastconv.nn.module import Module

__all__ = ["generators", "read", "record", "restore_generators", "write"]

_OUTLINE = "outline"  # the array that holds, as JSON, everything but the arrays, and where they belong
_Record = TypeVar("_Record")


def write(path: Path, tree: Any) -> None:
    """Write a tree of dicts, lists, tuples, arrays, numbers, strings, booleans and None; whole or not at all."""
    arrays: dict[str, NDArray[Any]] = {}
    outline = json.dumps(_outlined(tree, arrays))
    write_npz(path, {_OUTLINE: np.frombuffer(outline.encode(), np.uint8), **arrays})


def read(path: Path) -> Any:
    """Read what `write` wrote.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is something else.
    """
    arrays = read_npz(path)
    try:
        return _filled(json.loads(arrays[_OUTLINE].tobytes()), arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"fit: {str(path)!r} is no checkpoint of a training: {error!r}") from error


def _outlined(tree: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return what JSON can hold: containers become {kind: list}, arrays their numbers."""
    if isinstance(tree, Mapping):
        return {"dict": [[_outlined(key, arrays), _outlined(value, arrays)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return {type(tree).__name__: [_outlined(value, arrays) for value in tree]}
    if isinstance(tree, np.ndarray):
        name = str(len(arrays))
        arrays[name] = tree
        return {"array": name}
    if isinstance(tree, np.generic):
        return tree.item()
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    raise TypeError(f"fit: a checkpoint holds dicts, lists, arrays, numbers and strings, received {tree!r}")


def _filled(outline: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if not isinstance(outline, dict):
        return outline
    [(kind, content)] = outline.items()
    if kind == "array":
        return arrays[content]
    if kind == "dict":
        return {_filled(key, arrays): _filled(value, arrays) for key, value in content}
    values = [_filled(value, arrays) for value in content]
    return tuple(values) if kind == "tuple" else values


def record(kind: type[_Record], fields: Mapping[str, Any]) -> _Record:
    """Return the dataclass that ``asdict`` made a dict of.

    Raises
    ------
    ValueError
        When a field is missing, unknown or of another type.
    """
    types = get_type_hints(kind)
    wrong = sorted(set(types) ^ set(fields)) or [n for n, value in fields.items() if not isinstance(value, types[n])]
    if wrong:
        raise ValueError(f"fit: {kind.__name__} must have {wrong[0]!r} of its type, received {fields}")
    return kind(**fields)


def generators(model: Module) -> dict[str, Any]:
    """Return the states of the generators that layers hold (dropout's), by dotted names."""
    return {name: generator.bit_generator.state for name, generator in _held(model).items()}


def restore_generators(model: Module, states: Mapping[str, Any]) -> None:
    """Set them.

    Raises
    ------
    ValueError
        When the names differ, or a generator is of another kind.
    """
    held = _held(model)
    if set(held) != set(states):
        raise ValueError(f"fit: the model must have the generators {sorted(states)}, received one with {sorted(held)}")
    for name, generator in held.items():
        check.generator_state("fit", generator, states[name])


def _held(model: Module) -> dict[str, np.random.Generator]:
    return {
        f"{path}.{name}" if path else name: value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, np.random.Generator)
    }
