"""Two folders of masks, without a model: what is matched, what is refused, and that the line says where."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from visiontasks.errors import DataError, UsageError
from visiontasks.io.images import encode_mask
from visiontasks.segmentation.metrics import compare

NAMES = ("road", "sky", "tree")


def write(folder, **masks):
    for name, mask in masks.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_mask(np.array(mask, dtype=np.uint8)))
    return folder


@pytest.fixture
def truth(tmp_path):
    return write(tmp_path / "truth", a=[[0, 0, 1, 1]], b=[[2, 255, 1, 1]])


def options(**changes):
    return {"classes": NAMES, "map_class": {}, "ignore": None, **changes}


def test_masks_are_matched_by_name(tmp_path, truth):
    found = write(tmp_path / "found", b=[[2, 0, 1, 0]], sub__a=[[0, 1, 1, 1]])  # in a folder below
    evaluator = compare(truth, found, options())
    assert evaluator.compute()["aAcc"] == pytest.approx(5 / 7)
    assert evaluator.tables()["confusion"]["counts"] == [[1, 1, 0], [1, 3, 0], [0, 0, 1]]


def test_twins_are_matched_by_path(tmp_path):
    truth = write(tmp_path / "truth", x__a=[[0, 0]], y__a=[[1, 1]])
    found = write(tmp_path / "found", x__a=[[0, 0]], y__a=[[1, 0]])
    assert compare(truth, found, options()).compute()["aAcc"] == pytest.approx(3 / 4)


def test_ignored_values_count_nowhere_and_predicting_them_is_wrong(tmp_path):
    truth = write(tmp_path / "truth", a=[[0, 1, 11, 11]])
    found = write(tmp_path / "found", a=[[0, 11, 0, 11]])
    evaluator = compare(truth, found, options(ignore=11))
    assert evaluator.compute()["aAcc"] == pytest.approx(1 / 2)
    assert evaluator.tables()["confusion"]["unpredicted"] == [0, 1, 0]
    write(truth, a=[[0, 1, 255, 255]])
    evaluator = compare(truth, truth, options(ignore=0))  # a class can be ignored too
    assert evaluator.tables()["confusion"]["counts"] == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_row_1_masks_of_0_and_255_are_refused_unless_255_is_said_to_be_ignored(tmp_path):
    truth = write(tmp_path / "truth", a=[[0, 255, 255, 0]])
    found = write(tmp_path / "found", a=[[0, 0, 0, 0]])
    with pytest.raises(
        DataError, match=r"a\.png: expected class indices, found only 0 and 255; give --ignore"
    ):
        compare(truth, found, options())
    assert compare(truth, found, options(ignore=255)).compute()["aAcc"] == 1


def test_absent_classes_are_told(tmp_path, truth, caplog):
    compare(truth, truth, options(classes=(*NAMES, "car", "bus")))
    assert "in neither truth nor predictions, and left out of every mean: car, bus" in caplog.text


# What `segment` writes


def write_results(folder, classes, images, skipped=()):
    folder.mkdir(exist_ok=True)
    document = {"task": "segmentation", "classes": classes, "images": images, "skipped": list(skipped)}
    (folder / "predictions.json").write_text(json.dumps(document))
    return folder


def test_a_prediction_folder_brings_its_class_names(tmp_path, truth):
    """Its indices are joined by name, other names are mapped, and what was skipped is wrong."""
    found = write(tmp_path / "found", masks__a=[[1, 1, 0, 2]])
    (found / "a.png").write_bytes(b"a drawn picture, not a mask")
    write_results(
        found,
        ["sky", "street", "tree"],
        [{"file": "in/a.jpg", "mask": "masks/a.png"}],
        [{"file": "in/b.jpg", "reason": "truncated"}],
    )
    evaluator = compare(truth, found, options(map_class={"street": "road"}))
    assert evaluator.tables()["confusion"]["counts"] == [[2, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert evaluator.tables()["confusion"]["unpredicted"] == [0, 2, 1]
    with pytest.raises(DataError, match=r"only in predictions.json: street; map them with --map-class"):
        compare(truth, found, options())


def test_a_renamed_class_that_is_not_there_is_said(tmp_path, truth):
    found = write_results(tmp_path / "out", ("street", "car"), [])
    with pytest.raises(UsageError, match="--map-class: unknown class 'steet'; did you mean 'street'"):
        compare(truth, found, options(map_class={"steet": "road"}))


def test_class_names_may_come_from_the_results_alone(tmp_path, truth):
    found = write(tmp_path / "found", masks__a=[[0, 0, 1, 1]], masks__b=[[2, 2, 1, 1]])
    images = [{"file": f"{name}.jpg", "mask": f"masks/{name}.png"} for name in "ab"]
    write_results(found, list(NAMES), images)
    assert compare(truth, found, options(classes=None)).compute()["mIoU"] == 1
    write_results(found, list(NAMES), [{"file": "a.jpg", "mask": "../truth/a.png"}])
    with pytest.raises(DataError, match=r"\.\./truth/a\.png"):
        compare(truth, found, options())
    write_results(found, list(NAMES), [{"file": "a.jpg", "label": "cat"}])
    with pytest.raises(DataError, match=r"as `visiontasks segment` writes it .* KeyError"):
        compare(truth, found, options())


# Faults


def test_faults_are_named(tmp_path, truth):
    found = write(tmp_path / "found", a=[[0, 0, 1, 1]], c=[[0, 0, 1, 1]])
    with pytest.raises(DataError, match=r"1 of .*found not in .*truth: c; 1 of .*truth not in .*found: b"):
        compare(truth, found, options())
    (found / "c.png").unlink()
    write(found, b=[[0, 7, 7, 1]])
    with pytest.raises(DataError, match=r"found/b\.png: expected classes 0 to 2, .*found 7 \(2 pixels\)"):
        compare(truth, found, options())
    write(found, b=[[0, 1, 1, 1]] * 2)
    with pytest.raises(DataError, match=r"found/b\.png: expected the size of .*truth/b\.png, 1x4, found 2x4"):
        compare(truth, found, options())


def test_a_wide_unknown_value_is_listed(tmp_path, truth):
    found = write(tmp_path / "found", a=[[0, 0, 1, 1]])
    Image.fromarray(np.array([[0, 1, 2, 4000]], dtype=np.uint16)).save(found / "b.png")
    with pytest.raises(DataError, match=r"b\.png: .*found 4000 \(1 pixels\)"):
        compare(truth, found, options())


def test_jpeg_masks_and_twins_are_refused(tmp_path, truth):
    found = write(tmp_path / "found", a=[[0, 0, 1, 1]])
    Image.fromarray(np.zeros((1, 4), dtype=np.uint8)).save(found / "b.jpg")
    with pytest.raises(DataError, match=r"b\.jpg.*JPEG"):
        compare(truth, found, options())
    write(found, b=[[0, 0, 1, 1]])
    with pytest.raises(DataError, match=r"b\.png: expected one mask a name, found b\.jpg as well"):
        compare(truth, found, options())


def test_folders_without_masks_are_refused(tmp_path, truth):
    (tmp_path / "empty").mkdir()
    for truth_folder, found, message in [
        (truth, tmp_path / "empty", "expected masks in .*empty, found none"),
        (truth, tmp_path / "gone", "a folder of masks at .*gone, found nothing"),
        (truth / "a.png", truth, r"a folder of masks at .*a\.png, found a file"),
    ]:
        with pytest.raises(DataError, match=message):
            compare(truth_folder, found, options())


def test_classes_are_needed(truth):
    with pytest.raises(UsageError, match="has none; give --classes"):
        compare(truth, truth, options(classes=None))
    with pytest.raises(UsageError, match=r"--map-class renames classes of predictions.json, and .* has none"):
        compare(truth, truth, options(map_class={"a": "b"}))


def test_torch_is_not_imported():
    code = "import sys, visiontasks.segmentation.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
