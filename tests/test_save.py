"""Saving and loading: what was saved comes back, files appear whole or not at all, and nothing in a file can run."""

from __future__ import annotations

import json
import os
import pickle
import stat
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import models, nn
from fastconv._extras import MissingExtraError

KINDS = [
    ".npz",
    pytest.param(".safetensors", marks=pytest.mark.skipif("not __import__('importlib').util.find_spec('safetensors')")),
]
every_kind = pytest.mark.parametrize("kind", KINDS)


def arrays() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "file": generator.standard_normal((3, 4)).astype(np.float32),  # np.savez cannot take this name
        "a.b/c": generator.standard_normal((4, 3)).T,
        "half": np.float16([1, 2, np.nan]),
        "count": np.array(7),
        "swapped": np.arange(3, dtype=">f8"),
        "nothing": np.zeros((0, 2), np.float32),
        "list": [1.0, 2.0],
    }


@every_kind
def test_what_was_saved_comes_back(tmp_path: Path, kind: str) -> None:
    fc.save(arrays(), tmp_path / f"a{kind}")
    loaded = fc.load(str(tmp_path / f"a{kind}"))
    assert set(loaded) == set(arrays())
    for name, expected in arrays().items():
        np.testing.assert_array_equal(loaded[name], expected)
        assert loaded[name].shape == np.shape(expected)
        assert loaded[name].dtype == np.asarray(expected).dtype.newbyteorder("=")


@every_kind
def test_a_model_comes_back(tmp_path: Path, kind: str) -> None:
    net, other = models.LeNet5(generator=0), models.LeNet5(generator=1)
    fc.save(net, tmp_path / f"net{kind}")
    other.load_state_dict(fc.load(tmp_path / f"net{kind}"))
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)


@every_kind
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"a{kind}"
    fc.save({"a": np.ones(3)}, path)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    with pytest.raises(OSError, match="no space"):
        fc.save({"a": np.zeros(3)}, path)
    assert os.listdir(tmp_path) == [path.name]
    np.testing.assert_array_equal(fc.load(path)["a"], 1)


@every_kind
@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_others_may_read_it_if_the_umask_says_so(tmp_path: Path, kind: str) -> None:
    (tmp_path / "plain").touch()
    fc.save({"a": np.ones(3)}, tmp_path / f"a{kind}")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 200, pickle.dumps({"a": 1})])
@every_kind
def test_damaged_files(tmp_path: Path, kind: str, content: bytes) -> None:
    (tmp_path / f"a{kind}").write_bytes(content)
    with pytest.raises(ValueError, match=f"load: .*a{kind}"):
        fc.load(tmp_path / f"a{kind}")


@every_kind
@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_file_cut_short(tmp_path: Path, kind: str, cut: int) -> None:
    path = tmp_path / f"a{kind}"
    fc.save(arrays(), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(ValueError, match="load: "):
        fc.load(path)


class Trap:
    ran = False

    def __reduce__(self) -> Any:
        return (setattr, (Trap, "ran", True))


def test_an_archive_whose_index_would_begin_before_the_file(tmp_path: Path) -> None:
    fc.save(arrays(), tmp_path / "a.npz")
    content = bytearray((tmp_path / "a.npz").read_bytes())
    size = content.rfind(b"PK\x05\x06") + 12  # of the index, in the record at the end
    content[size : size + 4] = b"\xff\xff\xff\x7f"
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"no npz file"):
        fc.load(tmp_path / "a.npz")


def test_pickles_do_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array([Trap()], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        fc.load(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("a.npy", pickle.dumps(Trap()))
        archive.writestr("readme", b"text")
    with pytest.raises(ValueError, match="load: "):
        fc.load(tmp_path / "b.npz")
    assert not Trap.ran


def test_what_is_no_array_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme", b"text")
    with pytest.raises(ValueError, match="arrays only, received 'readme'"):
        fc.load(tmp_path / "a.npz")


def test_a_safetensors_file_by_hand(tmp_path: Path) -> None:
    """The format by its specification: length of the header, the header, the bytes."""
    pytest.importorskip("safetensors")
    values = np.arange(6, dtype="<f4")
    header = json.dumps({"conv.weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + values.tobytes())
    np.testing.assert_array_equal(fc.load(tmp_path / "a.safetensors")["conv.weight"], values.reshape(2, 3))


def write_by_hand(path: Path, kind: str, shape: list[int], values: bytes) -> None:
    """One tensor "a" of any kind, after one of float32."""
    header = {
        "first": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "a": {"dtype": kind, "shape": shape, "data_offsets": [4, 4 + len(values)]},
    }
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + np.ones(1, "<f4").tobytes() + values)


@pytest.mark.parametrize("shape", [(2, 4), (), (0, 3)])
def test_bfloat16_comes_as_float32_of_the_same_values(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """By its definition: sign, 8 bits of exponent, 7 of fraction, which is the upper half of a float32."""
    pytest.importorskip("safetensors")
    known = {0x3F80: 1.0, 0xC000: -2.0, 0x3E20: 0.15625, 0x0001: 2.0**-133, 0x7F80: np.inf, 0x8000: -0.0, 0x42F7: 123.5}
    bits = np.resize([*known], shape).astype("<u2")
    write_by_hand(tmp_path / "a.safetensors", "BF16", list(shape), bits.tobytes())
    found = fc.load(tmp_path / "a.safetensors")
    assert found["a"].dtype == np.float32
    assert found["a"].tobytes() == np.resize([*known.values()], shape).astype(np.float32).tobytes()
    assert found["first"] == 1
    if shape == (2, 4):
        layer = nn.Linear(4, 2, bias=False)
        layer.load_state_dict({"weight": found["a"]})
        assert layer.weight.data.tobytes() == found["a"].tobytes()


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2"])
def test_what_numpy_cannot_hold_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("safetensors")
    write_by_hand(tmp_path / "a.safetensors", kind, [1], b"\0")
    with pytest.raises(ValueError, match=r"(?i)f(loat)?8_e"):
        fc.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["a.pth", "a", "a.npy"])
def test_other_endings_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"must end in \.safetensors or \.npz"):
        fc.save({"a": np.ones(1)}, tmp_path / name)
    with pytest.raises(ValueError, match=r"must end in \.safetensors or \.npz"):
        fc.load(tmp_path / name)


def test_a_pickle_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"'resnet18\.pth'; only torch should open pickles, help\(fastconv\.load\)"):
        fc.load("resnet18.pth")


@every_kind
def test_no_such_file(tmp_path: Path, kind: str) -> None:
    with pytest.raises(FileNotFoundError):
        fc.load(tmp_path / f"a{kind}")


@pytest.mark.parametrize("state", [[np.ones(1)], {1: np.ones(1)}, {"a": object()}])
def test_save_refuses(tmp_path: Path, state: Any) -> None:
    with pytest.raises(TypeError, match="save: "):
        fc.save(state, tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_without_safetensors_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    for action in (lambda path: fc.save({}, path), fc.load):
        with pytest.raises(MissingExtraError, match=r"fastconv\[train\]"):
            action(tmp_path / "a.safetensors")


@every_kind
def test_paths_and_names_that_cannot_be(tmp_path: Path, kind: str) -> None:
    for path in (3, None, b"a.npz"):
        with pytest.raises(TypeError, match="save: path must be a path"):
            fc.save({}, path)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="load: path must be a path"):
            fc.load(path)  # type: ignore[arg-type]
    for name in ("__metadata__", "a\0b"):  # the one is safetensors' own, the other ends a name in a zip archive
        with pytest.raises(ValueError, match="save: names must not be"):
            fc.save({name: np.ones(2)}, tmp_path / f"a{kind}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("value", [1j, np.longdouble(1), "text", np.datetime64("2026-01-01")], ids=str)
def test_what_safetensors_cannot_hold(tmp_path: Path, value: Any) -> None:
    pytest.importorskip("safetensors")
    with pytest.raises(TypeError, match="save: safetensors holds real numbers of up to 64 bits, received 'a' of dtype"):
        fc.save({"a": value}, tmp_path / "a.safetensors")
    fc.save({"a": value}, tmp_path / "a.npz")
    assert fc.load(tmp_path / "a.npz")["a"] == value


@every_kind
@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX's")
def test_a_full_disk(tmp_path: Path, kind: str) -> None:
    """An OSError whatever wrote, and the older file is still there."""
    import resource

    path = tmp_path / f"a{kind}"
    fc.save({"a": np.ones(3)}, path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            fc.save({"a": np.ones(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == [path.name]
    np.testing.assert_array_equal(fc.load(path)["a"], 1)
