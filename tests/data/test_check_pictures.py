import itertools

import cv2
import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.pictures import save, texture
from visiontasks.data import duplicates
from visiontasks.data.duplicates import alike_pairs, join_alike, same_pairs
from visiontasks.data.pictures import join_looks, look
from visiontasks.data.sequences import shared_sequences
from visiontasks.ledger import Ledger
from visiontasks.ops.pairs import join_pairs


def _changed(image, how):
    height, width = image.shape[:2]
    if how == "smaller":
        return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    if how == "brighter":
        return np.clip(image.astype(int) + 40, 0, 255).astype(np.uint8)
    if how == "less contrast":
        return (image // 2 + 60).astype(np.uint8)
    if how == "cropped":
        return image[1 : height - 1, 2:]
    noise = np.random.default_rng(0).normal(0, 8, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def test_a_look_says_what_is_there(tmp_path):
    save(tmp_path / "a.png", texture(0, 30, 40))
    save(tmp_path / "b.jpg", np.full((20, 10, 3), 77, np.uint8))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(texture(1, 30, 40)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    (tmp_path / "png.jpg").write_bytes((tmp_path / "a.png").read_bytes())
    files = ["a.png", "b.jpg", "turned.jpg", "cut.png", "none.png", "png.jpg"]
    ledger = Ledger()
    seen = look(tmp_path, files, ledger=ledger)
    assert seen.sizes.tolist() == [[30, 40], [20, 10], [40, 30], [0, 0], [0, 0], [30, 40]]
    assert seen.turned.tolist() == [False, False, True, False, False, False]
    assert seen.blank.tolist() == [False, True, False, False, False, False]
    assert sorted(seen.faults) == [3, 4]
    assert (
        "cut.png" in seen.faults[3] and "none.png: expected a picture, found no such file" in seen.faults[4]
    )
    assert [entry.action for entry in ledger.entries] == ["repaired"]
    assert same_pairs(seen).tolist() == [[0, 5]]
    upright = cv2.resize(texture(0, 30, 40), (16, 16), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(seen.thumbnails[0], upright)


def test_a_quick_look_reads_headers_alone(tmp_path):
    save(tmp_path / "a.png", texture(0, 30, 40))
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    seen = look(tmp_path, ["a.png", "cut.png"], quick=True)
    assert seen.sizes.tolist() == [[30, 40], [30, 40]]
    assert not seen.faults and not len(seen.digests) and not len(seen.thumbnails)
    capped = look(tmp_path, ["a.png"], quick=True, max_pixels=1199)
    assert "30 x 40" in capped.faults[0]


def test_every_picture_is_looked_at_and_counted(tmp_path):
    for i in range(70):
        save(tmp_path / f"{i}.png", texture(i, 8, 8 + i))
    told = []
    seen = look(tmp_path, [f"{i}.png" for i in range(70)], advance=told.append)
    assert sum(told) == 70
    assert seen.sizes[:, 1].tolist() == list(range(8, 78))


@pytest.mark.parametrize("how", ["smaller", "brighter", "less contrast", "noisy", "cropped"])
def test_changed_copies_look_alike(tmp_path, how):
    for i in range(40):
        save(tmp_path / f"{i}.png", texture(i))
        save(tmp_path / f"{i}_again.jpg", _changed(texture(i), how), quality=60)
    files = [f"{i}.png" for i in range(40)] + [f"{i}_again.jpg" for i in range(40)]
    found = {tuple(pair) for pair in alike_pairs(look(tmp_path, files)).tolist()}
    expected = {(i, i + 40) for i in range(40)}
    assert found <= expected
    assert len(found) >= 38


def test_different_pictures_do_not_look_alike(tmp_path):
    for i in range(200):
        save(tmp_path / f"{i}.png", texture(i, 24, 32))
    horizon = np.zeros((24, 32, 3), np.uint8)
    horizon[:12] = 200
    for i in range(20):  # a bright sky above a dark ground, on each of which something else stands
        save(tmp_path / f"sky{i}.png", (horizon // 2 + texture(1000 + i, 24, 32) // 8).astype(np.uint8))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert not len(alike_pairs(look(tmp_path, files)))


def test_many_pictures_of_one_colour_are_no_copies(tmp_path):
    for i in range(30):
        save(tmp_path / f"{i}.png", np.full((8 + i, 8, 3), i, np.uint8))
    assert not len(alike_pairs(look(tmp_path, [f"{i}.png" for i in range(30)])))


def test_candidates_are_the_pairs_of_brute_force():
    rng = np.random.default_rng(3)
    base = rng.random((150, 64)) < 0.5
    flipped = base ^ (rng.random((150, 64)) < 0.05)  # 3 of 64 bits
    hashes = np.concatenate([base, flipped])
    found = {tuple(sorted(pair)) for pairs in duplicates._candidates(hashes) for pair in pairs.tolist()}
    close = {(i, j) for i, j in itertools.combinations(range(300), 2) if (hashes[i] != hashes[j]).sum() <= 4}
    assert len(close) > 100
    assert len(close & found) >= 0.98 * len(close)
    assert all((hashes[i] != hashes[j]).sum() <= 16 for i, j in found)


@given(st.integers(1, 20), st.data())
def test_join_pairs_is_connected_components(n, data):
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=25))
    group = join_pairs(n, np.array(pairs, dtype=np.int64).reshape(-1, 2))
    reference = list(range(n))  # the lowest place of each component, by repeated search
    for _ in range(n):
        for a, b in pairs:
            reference[a] = reference[b] = min(reference[a], reference[b])
    assert group.tolist() == [sorted(set(reference)).index(lowest) for lowest in reference]


def test_join_alike_groups_copies_and_leaves_the_unreadable_alone(tmp_path):
    save(tmp_path / "a.png", texture(0))
    save(tmp_path / "b.jpg", texture(0), quality=70)
    (tmp_path / "c.png").write_bytes((tmp_path / "a.png").read_bytes())
    save(tmp_path / "d.png", texture(1))
    files = ["d.png", "a.png", "missing.png", "b.jpg", "c.png", "gone.png"]
    assert join_alike(tmp_path, files).tolist() == [0, 1, 2, 1, 1, 3]
    assert join_alike(tmp_path, []).tolist() == []


def test_looks_are_joined_in_order(tmp_path):
    save(tmp_path / "a.png", texture(0))
    save(tmp_path / "b.png", texture(1))
    joined = join_looks([look(tmp_path, ["a.png", "x.png"]), look(tmp_path, ["y.png", "b.png"])])
    whole = look(tmp_path, ["a.png", "x.png", "y.png", "b.png"])
    np.testing.assert_array_equal(joined.digests, whole.digests)
    assert joined.faults == whole.faults


def _video(rng, frames):
    """Thumbnails of a camera that moves on: each frame shares most of what it shows with the next."""
    scene = cv2.GaussianBlur(rng.uniform(0, 255, (16, 16 + frames, 3)), (7, 7), 2)
    return np.stack([scene[:, i : i + 16] for i in range(frames)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "moves", "cut", "found"),
    [
        ("drive_{:04}.png", True, 20, ["drive_"]),
        ("a/{1}/frame{0:05}_left.png", True, 20, ["frame"]),
        ("drive_{:04}.png", True, 40, []),  # all in one split
        ("drive_{:04}.png", False, 20, []),  # numbered, but no video
    ],
)
def test_frames_of_one_video_in_two_splits(name, moves, cut, found):
    rng = np.random.default_rng(0)
    video = _video(rng, 40) if moves else rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)
    others = rng.integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)
    splits = ["train"] * cut + ["test"] * (40 - cut) + ["train"] * 30 + ["test"] * 30
    files = [name.format(i, splits[i]) for i in range(40)] + [f"pic{i * 7919}x.png" for i in range(60)]
    shared = list(shared_sequences(files, splits, np.concatenate([video, others])))
    assert [prefix for prefix, _ in shared] == found
    for _, places in shared:
        assert places.tolist() == list(range(40))


def test_no_pictures_no_sequences():
    assert list(shared_sequences([], [], np.zeros((0, 16, 16, 3), np.uint8))) == []
