"""The layers that benchmarks/ compares: both forms of the lists, sizes, work and arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastconv import reference

rows = pytest.importorskip("rows", reason="needs the source tree")

LISTS = sorted((Path(rows.__file__).parent / "shapes").glob("*.csv"))
NETWORK = "layer,count,c,h,w,k,kh,kw,sh,sw,ph,pw,dh,dw,groups\n"


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_sizes_agree_with_the_reference(path: Path) -> None:
    layers = rows.read_layers(path)
    assert len({layer.name for layer in layers}) == len(layers)
    for layer in layers:
        # One channel tells the output's size without the layer's work.
        x, weight = np.zeros((1, 1, *layer.size)), np.zeros((1, 1, *layer.kernel))
        y = getattr(reference, layer.operator)(x, weight, **{**layer.options, "groups": 1})
        assert y.shape[2:] == layer.output_shape(1)[2:]
        assert layer.c % layer.groups == layer.k % layer.groups == 0


def test_the_lists_have_what_is_to_be_measured() -> None:
    layers = [layer for path in LISTS for layer in rows.read_layers(path)]
    assert {layer.operator for layer in layers} >= {"conv1d", "conv2d", "conv3d"}
    assert {layer.n for layer in layers if layer.transposed} == {1, 2, 3}
    assert {layer.dtype for layer in layers} == {"float32", "float64"}
    depthwise = [layer for layer in layers if layer.groups == layer.c == layer.k and layer.n == 2]
    assert {(5, 5), (3, 3)} <= {layer.kernel for layer in depthwise}
    assert {7, 14, 28, 56} <= {layer.size[-1] for layer in depthwise if layer.kernel == (5, 5)}
    assert {4, 8, 16, 32} <= {layer.c // layer.groups for layer in layers if layer.groups > 1}


def test_both_forms(tmp_path: Path) -> None:
    networks, own = tmp_path / "networks.csv", tmp_path / "own.csv"
    networks.write_text(NETWORK + "one,2,8,7,9,4,3,5,2,1,1,2,1,3,4\n")
    own.write_text(
        "layer,c,size,k,kernel,stride,padding,dilation,groups,dtype\n"
        "one,8,7x9,4,3x5,2x1,1x2,1x3,4,\n"
        "line,3,100,5,4,2,,,,float64\n"
    )
    (layer,) = rows.read_layers(networks)
    same, line = rows.read_layers(own)
    assert layer == same
    assert layer == rows.Layer("one", 8, 4, (7, 9), (3, 5), (2, 1), (1, 2), (1, 3), 4)
    assert line == rows.Layer("line", 3, 5, (100,), (4,), (2,), (0,), (1,), 1, "float64")


def test_transposed(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("layer,c,size,k,kernel,stride,padding,groups,transposed,output_padding\nup,6,5x7,4,3,2,1,2,yes,1\n")
    (layer,) = rows.read_layers(path)
    x, weight, grad_output = layer.arrays(3)
    assert (x.shape, weight.shape) == ((3, 6, 5, 7), (6, 2, 3, 3))
    assert reference.conv_transpose2d(x, weight, **layer.options).shape == grad_output.shape == (3, 4, 10, 14)
    assert layer.multiply_adds(3) == 3 * 5 * 7 * 6 * 2 * 9


def test_work_by_hand() -> None:
    layer = rows.Layer("a", 8, 4, (7, 9), (3, 5), (2, 1), (1, 2), (1, 1), 4, "float64")
    assert layer.output_shape(2) == (2, 4, 4, 9)
    assert layer.multiply_adds(2) == 2 * 4 * 4 * 9 * (2 * 15)
    assert layer.traffic(2) == 8 * (2 * 8 * 63 + 4 * 2 * 15 + 2 * 4 * 36)
    assert {array.dtype for array in layer.arrays(1)} == {np.dtype("float64")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,c,h,w\nconv1,3,8,8\n", r"lacks columns \['dh', 'dw', 'groups'"),
        ("layer,c,size,k\nconv1,3,8,8\n", r"lacks columns \['kernel'\]"),
        ("layer,c,size,k,kernel,stirde\na,3,8,8,3,1\n", r"unknown \['stirde'\]"),
        ("layer,c,size,k,kernel,stride\na,3,8x8,8,3,1x1x1\n", r"line 2: stride must be one number or 2"),
        ("layer,c,size,k,kernel,dtype\na,3,8x8,8,3,float16\n", r"line 2: dtype must be of"),
        ("layer,c,size,k,kernel,transposed\na,3,8x8,8,3,maybe\n", r"transposed yes or no, received .* maybe"),
        ("layer,c,size,k,kernel\na,3,8by8,8,3\n", r"line 2: invalid literal"),
    ],
)
def test_what_is_wrong_with_a_list_is_told(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        rows.read_layers(path)
