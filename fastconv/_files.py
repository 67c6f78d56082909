"""Arrays in files: safetensors and npz, never pickle."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastconv import _check as check
from fastconv._extras import require
from fastconv.nn.module import Module

__all__ = ["load", "save"]

FilePath: TypeAlias = "str | os.PathLike[str]"


def save(state: Module | Mapping[str, ArrayLike], path: FilePath) -> None:
    """Write a model's weights, or any arrays with names, to a file.

    The file appears whole or not at all: it is written beside its place and moved there when it is complete, so an
    older one of this name stays until then.

    Parameters
    ----------
    state : Module or mapping of str to array_like
        A model stands for its ``state_dict()``.
    path : path
        Ends in ``.safetensors`` (what other frameworks read; needs the extra "train") or ``.npz`` (NumPy's own).

    Raises
    ------
    TypeError
        When `state` is neither, an array holds Python objects, or what the file's format cannot hold; when `path` is
        no path.
    ValueError
        When the path ends otherwise, or a name cannot be kept.
    OSError
        When the file cannot be written.
    MissingExtraError
        When safetensors is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastconv import nn
    >>> net = nn.Linear(3, 2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(net, os.path.join(folder, "net.npz"))
    ...     net.load_state_dict(load(os.path.join(folder, "net.npz")))
    IncompatibleKeys(missing_keys=[], unexpected_keys=[])
    """
    arrays = state.state_dict() if isinstance(state, Module) else state
    if not isinstance(arrays, Mapping):
        raise TypeError(f"save: state must be a Module or map names to arrays, received {type(state).__name__}")
    place = check.path("save", "path", path)
    write = _format("save", place, {".safetensors": _write_safetensors, ".npz": write_npz})
    write(place, {name: _plain(name, value) for name, value in arrays.items()})


def load(path: FilePath) -> dict[str, NDArray[Any]]:
    """Read the arrays of a safetensors or npz file. Nothing in a file can run: pickled objects are refused.

    Parameters
    ----------
    path : path
        Ends in ``.safetensors`` or ``.npz``.

    Returns
    -------
    dict of str to ndarray
        What ``model.load_state_dict`` takes. bfloat16, which NumPy lacks, comes as float32, the same values.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When the path ends otherwise, or the file is damaged or holds what it should not.
    MissingExtraError
        When safetensors is not installed.

    Notes
    -----
    torchvision publishes weights as pickles, which only torch should open. Three lines of torch make a safetensors
    file of one::

        import torch, safetensors.torch
        weights = torch.hub.load_state_dict_from_url("https://download.pytorch.org/models/resnet18-f37072fd.pth")
        safetensors.torch.save_file(weights, "resnet18.safetensors")

    and then ``fastconv.models.resnet18().load_state_dict(fastconv.load("resnet18.safetensors"))`` takes it by name.
    """
    place = check.path("load", "path", path)
    read = _format("load", place, {".safetensors": _read_safetensors, ".npz": read_npz})
    arrays: dict[str, NDArray[Any]] = read(place)
    return arrays


_Action = Callable[..., Any]


def _format(op: str, path: Path, known: dict[str, _Action]) -> _Action:
    action = known.get(path.suffix)
    if action is None:
        pickled = op == "load" and path.suffix in (".pth", ".pt", ".bin", ".ckpt")
        remedy = "; only torch should open pickles, help(fastconv.load) has three lines that convert one" * pickled
        raise ValueError(f"{op}: path must end in .safetensors or .npz, received path={str(path)!r}{remedy}")
    return action


def _plain(name: Any, value: ArrayLike) -> NDArray[Any]:
    if not isinstance(name, str):
        raise TypeError(f"save: names must be strings, received {name!r}")
    if "\0" in name or name == "__metadata__":  # where archives end a name; what safetensors keeps for itself
        raise ValueError(f"save: names must not be '__metadata__' nor hold a zero character, received {name!r}")
    array = np.asarray(value, order="C")
    if array.dtype.hasobject:
        raise TypeError(f"save: {name!r} must hold numbers, received dtype {array.dtype}")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a new path in the same folder; what was written there takes the place of `path` if all went well."""
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    with open(beside, "xb") as file:
        mode = os.fstat(file.fileno()).st_mode  # what the user's umask leaves
    try:
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())  # or a power cut could leave the new name with nothing behind it
        os.chmod(beside, mode)  # safetensors makes files of its own, for the owner's eyes only
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays as ``np.savez`` does, under any names (``np.savez`` cannot take an array named "file")."""
    with replacing(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read all arrays of an npz file.

    Raises
    ------
    ValueError
        When it is damaged, is no npz file, or holds pickled objects.
    """
    with open(path, "rb") as file:
        try:
            if not zipfile.is_zipfile(file):
                raise ValueError("not a zip archive")
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except MemoryError:
            raise
        except Exception as error:  # of a dozen kinds: zipfile, the decompressors and NumPy's parser have their own
            raise ValueError(f"load: {str(path)!r} is no npz file of plain arrays: {error}") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # NumPy gives the bytes of what is no array
            raise ValueError(f"load: {str(path)!r} must hold arrays only, received {name!r}")
    return arrays


def _write_safetensors(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    safetensors = require("safetensors", "safetensors files", "train")
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
            raise TypeError(
                f"save: safetensors holds real numbers of up to 64 bits, received {name!r} of dtype {array.dtype}; "
                f"an npz file may hold it"
            )
    with replacing(path) as beside:
        try:
            require("safetensors.numpy", "safetensors files", "train").save_file(arrays, beside)
        except safetensors.SafetensorError as error:  # a full disk, say
            raise OSError(f"save: {str(path)!r} cannot be written: {error}") from error


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    safetensors = require("safetensors", "safetensors files", "train")
    with open(path, "rb"):
        pass  # for Python's own error where it is not there
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
            arrays = {name: file.get_tensor(name) for name, kind in kinds.items() if kind != "BF16"}
        if len(arrays) < len(kinds):
            tensors = safetensors.deserialize(path.read_bytes())
            arrays |= {name: _from_bfloat16(held) for name, held in tensors if held["dtype"] == "BF16"}
    except (safetensors.SafetensorError, TypeError, AttributeError) as error:
        raise ValueError(f"load: {str(path)!r} is no safetensors file that NumPy can read: {error}") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" or not array.dtype.isbuiltin:  # where another package brings such dtypes
            raise ValueError(f"load: {str(path)!r} holds {name!r} in {array.dtype}, which is no dtype of NumPy's own")
    return arrays


def _from_bfloat16(tensor: dict[str, Any]) -> NDArray[Any]:
    """Return float32: bfloat16 is its upper half."""
    bits = np.frombuffer(tensor["data"], "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(tensor["shape"])
