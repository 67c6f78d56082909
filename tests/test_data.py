"""The loader, augmentation and the digits."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from fastconv import data
from fastconv.data import DataLoader, RandomCrop, RandomFlip, RandomShift

IMAGES = np.arange(10 * 2 * 3 * 4, dtype=np.float32).reshape(10, 2, 3, 4)
LABELS = np.arange(10)


def labels(loader: DataLoader) -> list[list[int]]:
    return [targets.tolist() for _, targets in loader]


# -- loader --


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "sizes"),
    [(None, False, [10]), (1, False, [1] * 10), (4, False, [4, 4, 2]), (4, True, [4, 4]), (5, True, [5, 5])],
)
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches(batch_size: int | None, drop_last: bool, sizes: list[int], shuffle: bool) -> None:
    loader = DataLoader(IMAGES, LABELS, batch_size, shuffle, drop_last, generator=0)
    batches = list(loader)
    assert len(loader) == len(batches)
    assert [len(x) for x, _ in batches] == sizes
    order = np.concatenate([y for _, y in batches])
    assert len(set(order.tolist())) == sum(sizes)
    assert np.array_equal(order, LABELS[: sum(sizes)]) != shuffle
    np.testing.assert_array_equal(np.concatenate([x for x, _ in batches]), IMAGES[order])


def test_each_epoch_has_an_order_of_its_own_and_a_seed_gives_them_again() -> None:
    first, second = (DataLoader(IMAGES, LABELS, 4, shuffle=True, generator=7) for _ in range(2))
    epochs = [labels(first) for _ in range(3)]
    assert len({str(epoch) for epoch in epochs}) == 3
    assert [labels(second) for _ in range(3)] == epochs


@pytest.mark.parametrize("taken", [0, 1, 2, 3])
def test_goes_on_where_the_state_was_taken(taken: int) -> None:
    def make(seed: int) -> DataLoader:
        return DataLoader(IMAGES, LABELS, 4, shuffle=True, augment=[RandomFlip(), RandomShift(1)], generator=seed)

    loader = make(3)
    next(iter(loader))  # an iteration that was left says nothing about the next
    batches = iter(loader)
    for _ in range(taken):
        next(batches)
    state = loader.state_dict()
    rest = [*batches, *loader]
    other = make(4)
    other.load_state_dict(state)
    again = [*other, *other]
    again = again[len(again) - len(rest) :] if taken == 0 else again
    assert len(again) == len(rest) == 6 - taken
    for (x, y), (again_x, again_y) in zip(rest, again, strict=True):
        np.testing.assert_array_equal(x, again_x)
        np.testing.assert_array_equal(y, again_y)


def test_an_iteration_begins_anew_unless_a_state_was_loaded() -> None:
    loader = DataLoader(IMAGES, LABELS, 4)
    next(iter(loader))
    assert labels(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_a_state_of_other_data_is_refused() -> None:
    loader = DataLoader(IMAGES, LABELS, 4, shuffle=True)
    next(iter(loader))
    with pytest.raises(ValueError, match="loader of 9 samples"):
        DataLoader(IMAGES[:9], LABELS[:9], 4).load_state_dict(loader.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": -1}, "position must be non-negative"),
        ({"position": 99}, "position must be at most"),
        ({"order": [LABELS.tolist()]}, "order of shape"),
        ({"order": np.arange(len(LABELS)) + 0.0}, "order of shape .* float64"),
        ({"generator": {}}, "state must be that of a PCG64"),
        ({"generator": np.random.MT19937(0).state}, "state must be that of a PCG64"),
    ],
)
def test_states_that_are_none(changes: dict[str, Any], message: str) -> None:
    loader = DataLoader(IMAGES, LABELS, 4)
    with pytest.raises(ValueError, match=message):
        loader.load_state_dict(loader.state_dict() | changes)
    with pytest.raises(ValueError, match="must have 'order'"):
        loader.load_state_dict({"generator": loader.state_dict()["generator"]})
    assert len(list(loader)) == len(loader)


@pytest.mark.parametrize(("kind", "path"), [("MT19937", ("state", "pos")), ("Philox", ("buffer_pos",))])
def test_a_place_outside_a_generators_buffer_is_refused(kind: str, path: tuple[str, ...]) -> None:
    """NumPy takes it, and reads whatever lies there."""
    loader = DataLoader(IMAGES, LABELS, generator=np.random.Generator(getattr(np.random, kind)(0)))
    state = copy.deepcopy(loader.state_dict())
    loader.load_state_dict(state)
    *parents, name = path
    inner = state["generator"]
    for parent in parents:
        inner = inner[parent]
    for place in (-1, 10**6):
        inner[name] = place
        with pytest.raises(ValueError, match=f"{name} must be from 0"):
            loader.load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": LABELS[:9]}, "equally many"),
        ({"inputs": np.zeros((0, 3)), "targets": []}, "must hold samples"),
        ({"inputs": 3.0}, "must hold samples"),
        ({"batch_size": 0}, "batch_size must be positive"),
        ({"batch_size": 11, "drop_last": True}, "drop_last leaves no batch"),
    ],
)
def test_loader_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataLoader(**({"inputs": IMAGES, "targets": LABELS} | arguments))


@pytest.mark.parametrize("arguments", [{"batch_size": 2.0}, {"shuffle": 1}, {"augment": "flip"}, {"generator": "a"}])
def test_loader_refuses_types(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="DataLoader"):
        DataLoader(IMAGES, LABELS, **arguments)


# -- augmentation --


def test_shifts_are_all_there_are_and_each_image_has_its_own() -> None:
    image = np.arange(1.0, 13).reshape(1, 1, 3, 4)
    images = np.repeat(image, 500, axis=0)
    kept = images.copy()
    moved = RandomShift((1, 2), fill=-1)(images, np.random.default_rng(0))
    np.testing.assert_array_equal(images, kept)
    padded = np.pad(image[0, 0], ((1, 1), (2, 2)), constant_values=-1)
    expected = {padded[top : top + 3, left : left + 4].tobytes() for top in range(3) for left in range(5)}
    assert {one.tobytes() for one in moved[:, 0]} == expected


def test_channels_move_together() -> None:
    images = np.repeat(IMAGES[:, :1], 2, axis=1)
    moved = RandomShift(1)(images, np.random.default_rng(0))
    np.testing.assert_array_equal(moved[:, 0], moved[:, 1])
    assert moved.flags.c_contiguous
    assert moved.dtype == images.dtype


def test_crops() -> None:
    cut = RandomCrop((2, 3))(IMAGES, np.random.default_rng(0))
    assert cut.shape == (10, 2, 2, 3)
    for crop, image in zip(cut, IMAGES, strict=True):
        places = [image[:, top : top + 2, left : left + 3] for top in range(2) for left in range(2)]
        assert any(np.array_equal(crop, place) for place in places)
    assert RandomCrop(6, padding=2)(IMAGES, np.random.default_rng(0)).shape == (10, 2, 6, 6)


def test_iterations_do_not_disturb_each_other() -> None:
    """A model may be measured on its training data within the loop over them."""
    loader = data.DataLoader(np.arange(5), np.arange(5), batch_size=2)
    pairs = [(outer.tolist(), [inner.tolist() for inner, _ in loader]) for outer, _ in loader]
    assert pairs == [(batch, [[0, 1], [2, 3], [4]]) for batch in ([0, 1], [2, 3], [4])]
    outer = iter(loader)
    next(outer)
    assert len(list(loader)) == 3
    next(outer)
    other = data.DataLoader(np.arange(5), np.arange(5), batch_size=2)
    other.load_state_dict(loader.state_dict())
    assert [batch.tolist() for batch, _ in other] == [[4]]


@pytest.mark.parametrize("axis", [-1, -2])
def test_flips(axis: int) -> None:
    images = np.repeat(IMAGES, 20, axis=0)
    flipped = RandomFlip(0.5, axis)(images, np.random.default_rng(0))
    as_they_were = (flipped == images).all(axis=(1, 2, 3))
    assert 60 < as_they_were.sum() < 140
    np.testing.assert_array_equal(flipped[~as_they_were], np.flip(images[~as_they_were], axis))
    np.testing.assert_array_equal(RandomFlip(0.0)(images, np.random.default_rng(0)), images)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomFlip(1.5), "p must be between 0 and 1"),
        (lambda: RandomFlip(axis=1), "axis must be"),
        (lambda: RandomCrop(0), "size must be positive"),
        (lambda: RandomShift(-1), "pixels must be non-negative"),
        (lambda: RandomCrop(5)(IMAGES, np.random.default_rng(0)), "must fit"),
        (lambda: RandomCrop(2)(IMAGES[0], np.random.default_rng(0)), "must have the axes"),
        (lambda: RandomShift(1)([[1.0]], np.random.default_rng(0)), "RandomShift: images must have the axes"),
        (lambda: RandomFlip()(np.float32(1), np.random.default_rng(0)), "RandomFlip: images must have the axes"),
        (lambda: data.resize(np.ones(3), 2, 2), "resize: images must have the axes"),
        (lambda: data.resize(np.ones((0, 3)), 2, 2), "resize: images must have the axes"),
        (lambda: data.resize(np.ones((3, 3)), 0, 2), "height must be positive"),
        (lambda: data.split(6, validation=5), "at most 4"),
        (lambda: RandomFlip("often"), "RandomFlip: p must be a real number"),
        (lambda: RandomCrop(2, fill="white"), "RandomCrop: fill must be a real number"),
        (lambda: RandomShift(2, fill=np.nan), "RandomShift: fill must be finite"),
        (lambda: RandomFlip()(IMAGES, "chance"), "RandomFlip: generator must be"),
        (lambda: RandomCrop(2)(IMAGES, "chance"), "RandomCrop: generator must be"),
        (lambda: data.DataLoader([[1], [1, 2]], [0, 1]), "DataLoader: inputs cannot be read as an array"),
        (lambda: data.digits([32]), "digits: size must be made of integers"),
    ],
)
def test_refusals(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# -- digits --


def test_split() -> None:
    parts = data.split(1797, validation=200)
    assert [len(part) for part in parts] == [998, 200, 599]
    assert set(parts.test) == set(range(0, 1797, 3))
    assert len(set(np.concatenate(parts).tolist())) == 1797
    np.testing.assert_array_equal(data.split(1797, 200).validation, parts.validation)
    assert not np.array_equal(data.split(1797, 200, generator=1).validation, parts.validation)


def test_resizing_keeps_straight_lines_straight() -> None:
    ramp = np.arange(8.0) * np.ones((5, 1))
    wide = data.resize(ramp, 5, 32)
    np.testing.assert_allclose(np.diff(wide[:, 2:-2], axis=1), 0.25)
    np.testing.assert_allclose(wide[0, [0, -1]], [0, 7])
    assert data.resize(ramp.astype(np.float32), 3, 3).dtype == np.float32


@pytest.mark.parametrize("size", [32, 40])
def test_digits(size: int) -> None:
    pytest.importorskip("sklearn")
    images, targets = data.digits(size)
    assert (images.shape, images.dtype, targets.shape) == ((1797, 1, size, size), np.float32, (1797,))
    assert np.bincount(targets).min() > 170
    with pytest.raises(ValueError, match="read-only"):
        images[0, 0, 0, 0] = 1
