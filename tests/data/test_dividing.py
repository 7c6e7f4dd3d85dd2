"""Which part each picture goes to: whole groups, the sizes and shares asked for, whatever the order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.data.dividing import divide
from visiontasks.data_tools import LabelCounts
from visiontasks.errors import DataError

RATIOS = st.sampled_from([(1.0,), (0.5, 0.5), (0.8, 0.2), (0.8, 0.1, 0.1), (0.6, 0.25, 0.15)])


def counts_of(table):
    """(N, K) -> its entries above 0."""
    picture, label = np.nonzero(table)
    return LabelCounts(picture, label, table[picture, label])


def one_hot(labels, num_classes):
    return np.eye(num_classes, dtype=np.int64)[labels]


def paths_of(n):
    return [f"folder/{i:05}.png" for i in range(n)]


def shares_of(parts, table, num_parts):
    """(S, K) what each part has of each class."""
    held = np.stack([table[parts == part].sum(axis=0) for part in range(num_parts)])
    return held / np.maximum(table.sum(axis=0), 1)


@given(st.lists(st.integers(0, 9), min_size=3, max_size=200), RATIOS, st.integers(0, 5))
def test_single_labels_are_exact(labels, ratios, seed):
    """Each class is within one picture of its share, and so is, but for a few, each part."""
    table = one_hot(np.array(labels), 10)
    n = len(labels)
    parts = divide(paths_of(n), np.arange(n), counts_of(table), ratios, seed)
    assert set(parts.tolist()) <= set(range(len(ratios)))
    assert len(set(parts.tolist())) == len(ratios)
    if n >= 10 * len(ratios):  # else a part may be filled at the expense of a class
        ideal = np.outer(ratios, table.sum(axis=0))
        held = np.stack([table[parts == part].sum(axis=0) for part in range(len(ratios))])
        lone = (table.sum(axis=0) > 0) & (ideal[0] < 1)  # what there is little of is in the largest part
        assert np.all(np.abs(held - ideal)[:, ~lone] < 1 + 1e-6)
        assert np.all(held[0, table.sum(axis=0) > 0] > 0)
        assert np.all(np.abs(held.sum(axis=1) - np.array(ratios) * n) <= 1 + lone.sum())


def test_sizes_are_right_where_no_class_divides_evenly():
    """100 classes of 7: of each 5 or 6 are trained on, and the parts' sizes are still 560, 70, 70."""
    table = one_hot(np.repeat(np.arange(100), 7), 100)
    parts = divide(paths_of(700), np.arange(700), counts_of(table), (0.8, 0.1, 0.1), 0)
    assert np.bincount(parts).tolist() == [560, 70, 70]
    held = np.stack([table[parts == part].sum(axis=0) for part in range(3)])
    assert set(held[0].tolist()) == {5, 6}
    assert set(held[1:].ravel().tolist()) == {0, 1}


def test_without_labels_sizes_are_exact():
    parts = divide(paths_of(11), np.arange(11), counts_of(np.zeros((11, 0), dtype=int)), (0.5, 0.3, 0.2), 3)
    assert np.bincount(parts).tolist() in ([6, 3, 2], [5, 3, 3], [5, 4, 2])
    assert np.bincount(parts)[0] in (5, 6)


@given(st.data(), RATIOS, st.integers(0, 5))
def test_groups_stay_whole_and_every_part_has_some(data, ratios, seed):
    n = data.draw(st.integers(8, 60))
    groups = np.array(data.draw(st.lists(st.integers(0, 12), min_size=n, max_size=n)))
    table = np.array(data.draw(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=n, max_size=n)))
    if len(np.unique(groups)) < len(ratios):
        return
    parts = divide(paths_of(n), groups, counts_of(table), ratios, seed)
    assert all(len(set(parts[groups == group].tolist())) == 1 for group in np.unique(groups))
    assert set(parts.tolist()) == set(range(len(ratios)))


@given(st.data())
def test_the_order_of_files_does_not_matter(data):
    n = data.draw(st.integers(6, 40))
    groups = np.array(data.draw(st.lists(st.integers(0, 30), min_size=n, max_size=n)))
    table = np.array(data.draw(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=n, max_size=n)))
    if len(np.unique(groups)) < 3:
        return
    order = np.array(data.draw(st.permutations(range(n))))
    paths, ratios = paths_of(n), (0.6, 0.25, 0.15)
    parts = divide(paths, groups, counts_of(table), ratios, 1)
    turned = divide([paths[i] for i in order], 99 - groups[order], counts_of(table[order]), ratios, 1)
    assert turned.tolist() == parts[order].tolist()


def test_another_seed_divides_anew():
    table = one_hot(np.arange(100) % 4, 4)
    one, same, other = (
        divide(paths_of(100), np.arange(100), counts_of(table), (0.5, 0.5), seed) for seed in (0, 0, 1)
    )
    assert one.tolist() == same.tolist()
    assert 20 < np.sum(one != other) < 80


@pytest.mark.parametrize("grouped", [False, True])
def test_shares_of_classes_are_closer_than_by_chance(grouped):
    """Boxes of 12 classes from frequent to rare, several a picture: chance is 3 times as far off."""
    rng = np.random.default_rng(0)
    n, ratios = 900, np.array([0.8, 0.1, 0.1])
    rates = np.geomspace(3, 0.02, 12)
    table = rng.poisson(rates, size=(n, 12))
    groups = np.repeat(np.arange(n // 5), 5) if grouped else np.arange(n)
    parts = divide(paths_of(n), groups, counts_of(table), ratios.tolist(), 0)
    off = np.abs(shares_of(parts, table, 3) - ratios[:, None])
    by_chance = [
        np.abs(
            shares_of(rng.choice(3, n // 5, p=ratios)[groups // (1 if grouped else 5)], table, 3)
            - ratios[:, None]
        )
        for _ in range(10)
    ]
    assert np.mean(off) < np.mean(by_chance) / 3
    assert np.all(np.abs(np.bincount(parts) / n - ratios) < 0.02)


def test_pixels_are_shared_out():
    """Masks: each picture has most classes, in amounts that differ widely."""
    rng = np.random.default_rng(1)
    ratios = np.array([0.7, 0.15, 0.15])
    table = (rng.lognormal(8, 1.5, size=(300, 8)) * (rng.random((300, 8)) < 0.6)).astype(np.int64)
    parts = divide(paths_of(300), np.arange(300), counts_of(table), ratios.tolist(), 0)
    assert np.max(np.abs(shares_of(parts, table, 3) - ratios[:, None])) < 0.025
    assert np.all(np.abs(np.bincount(parts) / 300 - ratios) < 0.03)


def test_fewer_groups_than_parts_are_refused():
    with pytest.raises(DataError) as caught:
        divide(paths_of(9), np.arange(9) % 2, counts_of(np.ones((9, 1), dtype=int)), (0.8, 0.1, 0.1), 0)
    assert str(caught.value).startswith("expected at least 3 groups of pictures for 3 parts, found 2; ")


def test_a_class_of_one_picture_is_trained_on():
    table = one_hot(np.arange(30), 30)
    table = np.concatenate([table, one_hot(np.zeros(70, dtype=int), 30)])
    parts = divide(paths_of(100), np.arange(100), counts_of(table), (0.8, 0.1, 0.1), 0)
    assert np.all(shares_of(parts, table, 3)[0] > 0)
