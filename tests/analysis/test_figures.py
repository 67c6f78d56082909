"""Pictures: each gives its Axes, and they show the numbers that they are about."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv import nn
from fastconv.analysis import Window, figures
from fastconv.analysis.figures._style import BLUE, ORANGE

pytest.importorskip("matplotlib")


def titles(axes: Any) -> list[str]:
    return [panel.get_title() + panel.get_title("left") for panel in np.ravel(axes)]


def texts(axes: Any) -> list[str]:
    return [text.get_text() for panel in np.ravel(axes) for text in panel.texts]


@pytest.fixture(scope="module")
def image() -> Any:
    rng = np.random.default_rng(0)
    return np.clip(np.add.outer(np.linspace(0, 1, 64), np.linspace(0, 0.5, 96)) + rng.normal(0, 0.1, (64, 96)), 0, 1)


def test_connection_matrices() -> None:
    axes = figures.connection_matrices()
    assert axes.shape == (2, 4)
    assert [title.splitlines()[1] for title in titles(axes)] == [
        *("120 weights", "30 weights", "6 weights", "3 weights"),
        *("576 weights", "144 weights", "36 weights", "9 weights"),
    ]
    for panel, connections in zip(axes.ravel(), (120, 30, 30, 30, 576, 144, 144, 144), strict=True):
        assert np.isfinite(panel.images[0].get_array().filled(np.nan)).sum() == connections


ROWS = np.ones((3, 4))
WRONG: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    *(
        (name, {"image": value}, error, rf"{name}: image must (have the axes|hold real numbers)")
        for name in ("filtered_photograph", "template", "shifts", "kept_and_lost", "residual_identity")
        for value, error in ((np.ones(3), ValueError), (np.ones((0, 4)), ValueError), (["a"], TypeError))
    ),
    ("shifts", {"image": np.ones((16, 16)), "shift": (1, 2)}, ValueError, "two even ints below half"),
    ("shifts", {"image": np.ones((16, 16)), "shift": (2, 8)}, ValueError, "two even ints below half"),
    ("shifts", {"image": np.ones((16, 16))}, ValueError, "must not be of one value, received 1"),
    ("connection_matrices", {"row": 3.5}, TypeError, "row must be"),
    ("connection_gradients", {"kernel": 0}, ValueError, "kernel must be positive"),
    ("feature_maps", {"image": ROWS, "layers": {}}, ValueError, "layers must hold one"),
    ("residual_identity", {"image": -ROWS}, ValueError, "must not be negative, received pixels of -1"),
    ("curves", {"lines": {}, "xlabel": "", "ylabel": ""}, ValueError, "lines must hold one"),
    ("seen_by_layers", {"image": ROWS, "layers": [Window(3)]}, ValueError, r"such as Conv2d and Window\(\(3, 3\)\)"),
    ("seen_by_layers", {"image": ROWS, "layers": [Window((3, 3))], "labels": {}}, ValueError, "labels name one"),
    ("kept_and_lost", {"image": np.ones((64, 63))}, ValueError, "even sides of 48 or more"),
    ("first_filters", {"before": np.ones((2, 1, 3, 3)), "after": np.ones((2, 1, 5, 5))}, ValueError, "one shape"),
    ("feature_maps", {"image": ROWS, "layers": {"C1": ROWS}}, ValueError, r"layers\['C1'\] must have the axes"),
    ("vanishing_gradients", {"depth": 0}, ValueError, "depth must be positive"),
    ("curves", {"lines": {"a": ([1, 2], [1])}, "xlabel": "", "ylabel": ""}, ValueError, "'a' must be equally many"),
    ("predictions", {"images": ROWS[None], "probabilities": ROWS, "targets": [1]}, ValueError, "equally many"),
    ("confusion", {"matrix": ROWS}, ValueError, "must be square"),
    ("confusion", {"matrix": np.zeros((2, 2))}, ValueError, "not all 0"),
    ("augmented", {"image": ROWS, "variants": {}}, ValueError, "variants must hold"),
    ("regularised_maps", {"maps": ROWS[None, None]}, ValueError, "three channels"),
    ("parameters_of_networks", {"networks": {}}, ValueError, "networks must hold"),
    ("parameters_by_side", {"sides": ()}, ValueError, "sides must hold"),
    ("one_dimensional_example", {"signal": ROWS}, ValueError, r"signal must have the axes \(W,\)"),
    ("seen_through_layers", {"kernel": 2}, ValueError, "kernel must be odd"),
    ("seen_by_layers", {"image": [1.0], "layers": []}, ValueError, r"\(3, H, W\) or \(H, W\)"),
    ("strong_prior", {"width": 2}, ValueError, "width must be at least 3"),
    ("series", {"signal": np.ones(16)}, ValueError, "17 values or more"),
    ("sound", {"signal": np.ones(100)}, ValueError, "64 ms or more"),
    ("word_detector", {"text": "a", "word": "ab"}, ValueError, "no more than text"),
    ("word_detector", {"text": "a", "word": 3}, TypeError, "must be strings"),
    ("descent", {"steps": 0}, ValueError, "steps must be positive"),
    ("dying_units", {"images": ROWS, "labels": [1, 2, 3]}, ValueError, r"images must have the axes \(N, C, H, W\)"),
]


@pytest.mark.parametrize(("name", "arguments", "error", "rule"), WRONG)
def test_pictures_refuse(name: str, arguments: dict[str, Any], error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=f"(?s)^{name}: .*{rule.removeprefix(name + ': ')}"):
        getattr(figures, name)(**arguments)


PICTURES = sorted({name for name, value in vars(figures).items() if inspect.isfunction(value)})


@pytest.mark.parametrize("name", PICTURES)
def test_every_picture_is_documented(name: str) -> None:
    """In numpydoc's sections; test_docs runs the example."""
    function = getattr(figures, name)
    text = inspect.getdoc(function) or ""
    wanted = ["Returns", "Raises", "Examples", *(["Parameters"] if inspect.signature(function).parameters else [])]
    for section in wanted:
        assert f"{section}\n{'-' * len(section)}\n" in text, f"{name} has no section {section}"


def test_connection_gradients() -> None:
    """The way back: to inputs through the transposed matrix; a weight's gradient sums over all that share it."""
    axes = figures.connection_gradients(row=9, kernel=3, tile=2, seed=4)
    assert axes.shape == (3, 4)
    assert titles(axes[2]) == ["63 sums of 1", "21 sums of 1", "6 sums of 3", "3 sums of 7"]
    forward = figures.connection_matrices(row=9)
    for panel, matrix in zip(axes[0], forward[0], strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), matrix.images[0].get_array().T)
    rng = np.random.default_rng(4)
    x, g = (rng.choice([-3.0, -2, -1, 1, 2, 3], side) for side in (9, 7))
    local, tiled = nn.LocallyConnected1d(1, 1, 9, 3, dtype=np.float64), nn.TiledConv2d(1, 1, (1, 3), (1, 2))
    layers: list[tuple[nn.Module, Any, Any]] = [
        (nn.Linear(9, 7, dtype=np.float64), x, g),
        (local, x[np.newaxis], g[np.newaxis]),
        (tiled, x[np.newaxis, np.newaxis], g[np.newaxis, np.newaxis]),
        (nn.Conv1d(1, 1, 3, dtype=np.float64), x[np.newaxis], g[np.newaxis]),
    ]
    for panel, (layer, layer_input, grad) in zip(axes[2], layers, strict=True):
        layer.forward(layer_input)[1](grad)
        weight = next(layer.parameters())
        assert weight.grad is not None
        np.testing.assert_array_equal(np.ravel(panel.images[0].get_array()), weight.grad.ravel())


def test_parameters_by_side() -> None:
    lines = figures.parameters_by_side().lines
    assert [int(line.get_ydata()[-1]) for line in lines] == [10**12, 25 * 10**6, 100, 25]
    assert [int(line.get_ydata()[4]) for line in lines] == [10**8, 25 * 10**4, 100, 25]


def test_one_dimensional_example() -> None:
    axes = figures.one_dimensional_example()
    assert titles(axes) == [
        "stride 1: (5 - 3 + 2·1) / 1 + 1 = 5 outputs",
        "stride 2: (5 - 3 + 2·1) / 2 + 1 = 3 outputs",
    ]
    assert texts(axes[0])[7:12] == ["-1", "-3", "-1", "-4", "2"]
    assert texts(axes[1])[7:10] == ["-1", "-1", "2"]


def test_what_is_seen() -> None:
    for depth, sides in ((3, [1, 3, 5, 7]), (5, [1, 3, 5, 7, 9, 11])):
        axes = figures.seen_through_layers(depth)
        numbers = [int(text) for text in texts(axes) if text.isdigit()]
        assert (numbers[::2], numbers[1::2]) == (sides[::-1], sides)  # seen and reached, from the input up
        dots = [(int(line.get_ydata()[0]), line.get_color()) for line in axes.lines if line.get_marker() == "o"]
        for colour, wanted in ((BLUE, sides[::-1]), (ORANGE, sides)):
            assert [dots.count((level, colour)) for level in range(depth + 1)] == wanted
    net = nn.Sequential(nn.Conv2d(3, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1))
    axes = figures.seen_by_layers(np.zeros((3, 60, 80)), net, {"0": "first", "2": "last"})
    assert [line.get_label() for line in axes.lines] == ["first: 3 x 3, step 1", "last: 8 x 8, step 2"]
    assert [np.ptp(line.get_xdata()) for line in axes.lines] == [3, 8]


def test_strong_prior() -> None:
    both = texts(figures.strong_prior()[3])
    assert both[:3] == both[3:]


def test_curve_detector() -> None:
    assert titles(figures.curve_detector())[2::3] == ["adds up to 6600", "adds up to 0"]
    assert float((figures.CURVE * figures.CURVE_PRESENT).sum()) == 6600
    assert float((figures.CURVE * figures.CURVE_ABSENT).sum()) == 0


def test_template(image: Any) -> None:
    axes = figures.template(image)
    assert titles(axes)[2] == "response: at most 4"
    assert texts(axes[2]) == ["4", "0", "3", "0", "3", "0", "2", "1", "2"]


def test_pooling() -> None:
    axes = figures.pooling()
    assert texts(axes[0, 1]) == ["0", "0", "1", "0"]
    assert texts(axes[1, 1]) == ["0.25"] * 4
    assert (texts(axes[0, 2]), texts(axes[1, 2])) == (["5", "2", "2", "9"], ["3.25", "1", "1", "7.5"])


def test_shifts() -> None:
    digit = np.zeros((24, 24))
    digit[6:16, 8:11] = 1
    labels = [row[2].get_xlabel() for row in figures.shifts(digit)]
    assert labels[:3] == ["off by 0 %"] * 3
    assert int(labels[3].split()[2]) > 50


def test_kept_and_lost(image: Any) -> None:
    axes = figures.kept_and_lost(image)
    widths = [bar.get_width() for bar in axes[0].patches]
    assert widths[0] < 1e-6
    assert min(widths[1:]) > 30
    after = {text.get_text(): line.get_ydata() for text, line in zip(axes[1].texts, axes[1].lines, strict=True)}
    assert all(line[0] == 0 for line in after.values())
    assert after["no pooling"][1] > after["max 3x3"][1] > after["max 9x9"][1]


def test_filtered_photograph(image: Any) -> None:
    axes = figures.filtered_photograph(image)
    rough = [float(np.abs(np.diff(panel.images[0].get_array(), axis=1)).mean()) for panel in axes[:3]]
    assert rough[0] > 3 * rough[1] > 3 * rough[2] > 0


def test_series_and_text() -> None:
    axes = figures.series(np.arange(50.0))
    np.testing.assert_allclose(axes[0].lines[1].get_ydata(), np.arange(7, 43))
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), 1)
    bars = figures.word_detector("shared weights share", "share").patches
    heights = [bar.get_height() for bar in bars]
    assert max(heights) == 5
    assert [place for place, height in enumerate(heights) if height == 5] == [0, 15]


def test_a_pure_tone_is_heard_at_its_pitch() -> None:
    time = np.arange(2400) / 8000
    axes = figures.sound(
        np.concatenate([np.sin(2 * np.pi * pitch * time) for pitch in (500, 1500)]), names={"low": 0.1}
    )
    strength = axes[1].images[0].get_array()
    assert strength.shape[0] == len(range(100, 3001, 20))
    loudest = 100 + 20 * strength.argmax(axis=0)
    assert loudest[5] == 500
    assert loudest[-5] == 1500
    left, right, low, high = axes[1].images[0].get_extent()
    assert (low, high) == (90, 3010)
    np.testing.assert_allclose((left, right), ((256 - 20) / 8000, (256 + 40 * 107 + 20) / 8000))
    assert texts(axes[0]) == ["low"]


def test_losses() -> None:
    """Of two classes: cross-entropy is log(1 + exp(-z)), the mean squared error (1 - s(z))**2."""
    axes = figures.losses()
    z = axes[0].lines[0].get_xdata()
    share = 1 / (1 + np.exp(-z))
    for panel, curves in zip(
        axes,
        ((np.log1p(np.exp(-z)), (1 - share) ** 2), (share - 1, -2 * share * (1 - share) ** 2)),
        strict=True,
    ):
        for line, want in zip(panel.lines, curves, strict=False):
            np.testing.assert_allclose(line.get_ydata(), want, atol=1e-12)
    slopes = [line.get_ydata()[0] for line in axes[1].lines[:2]]  # surely wrong
    assert slopes[0] < -0.999
    assert slopes[1] > -0.001


def test_descent_finds_the_filter() -> None:
    axes = figures.descent()
    errors = axes[0].lines[0].get_ydata()
    assert (np.diff(errors) < 0).all()
    assert errors[-1] < 1e-5 * errors[0]
    found = [line.get_ydata()[-1] for line in axes[1].lines[1::2]]
    np.testing.assert_allclose(found, [1, 0, -1], atol=1e-2)


def test_units_die_with_the_learning_rate() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = rng.random((200, 1, 4, 4)) + labels[:, None, None, None] / 5
    axes = figures.dying_units(images, labels, (0.01, 3.0), 2)
    (few, many), leaky = (line.get_ydata() for line in axes[0].lines)
    assert few < 20 < 60 < many
    assert leaky.tolist() == [0, 0]
    stuck, woken = (line.get_ydata() for line in axes[1].lines)
    assert len(stuck) == 5
    assert stuck.min() > 2.25  # ln 10 = 2.30: only the last layer's biases learn
    assert woken[-1] < stuck[-1] - 0.05


def test_networks() -> None:
    slopes = figures.activations()[1].lines
    assert max(slopes[0].get_ydata()) == 0.25
    gradients = {line.get_label(): line.get_ydata() for line in figures.vanishing_gradients().lines}
    assert gradients["sigmoid"][0] < 1e-6 * gradients["sigmoid"][-1]
    for kind in ("ReLU", "ReLU, residual"):
        assert 0.05 < gradients[kind][0] / gradients[kind][-1] < 20
    maps = np.abs(np.random.default_rng(0).standard_normal((4, 5, 8, 9)))
    identity = figures.residual_identity(maps[0, 0])
    assert titles(identity)[1:] == ["plain: F(x) = 0", "residual: F(x) + x, off by 0"]
    assert figures.first_filters(maps[:, :1], maps[:, 1:2]).shape == (3, 4)
    assert figures.feature_maps(maps[0, 0], {"one": maps[0], "two": maps[1]}).shape == (3, 7)
    assert figures.regularised_maps(maps).shape == (4, 4)
    assert figures.augmented(maps[0, 0], {"shift": maps[0], "flip": maps[1]}).shape == (2, 6)
    shares = np.full((2, 4), 0.25)
    assert figures.predictions(maps[:2, 0], shares, [0, 1]).shape == (2, 2)
    assert figures.confusion([[9, 1], [0, 10]]).get_title() == "accuracy 95.00% of 20 images"
    both = figures.parameters_of_networks({"a": (25_557_032, 0, 4.1e9), "b": (100, 900, 1e3)})
    assert texts(both) == [" 25.6 M", " 1 k", " 4.1 G", " 1 k"]
    lines = figures.curves({"a": ([1, 2], [3, 4])}, "epoch", "loss", logarithmic=True, limits=(1, 10))
    assert (lines.get_yscale(), lines.get_ylim()) == ("log", (1, 10))


def test_settings_stay_and_pyplot_is_not_needed(tmp_path: Path) -> None:
    """In a process of its own: no window, no global figure, the user's style as it was."""
    program = """
import sys
from fastconv.analysis import figures
assert "matplotlib" not in sys.modules
import matplotlib
before = {key: matplotlib.rcParams[key] for key in matplotlib.rcParams if key != "backend"}
figures.parameters_by_side().figure.savefig(sys.argv[1])
assert all(matplotlib.rcParams[key] == value for key, value in before.items())
assert "matplotlib.pyplot" not in sys.modules
"""
    picture = tmp_path / "parameters.png"
    subprocess.run([sys.executable, "-c", program, str(picture)], check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
