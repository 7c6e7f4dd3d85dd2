import json
import logging
import math

import numpy as np
import pytest

from visiontasks.detection.metrics import compare
from visiontasks.errors import DataError

from .formats import FILES, annotations, write_predictions, write_truth

pytestmark = pytest.mark.usefixtures("few_resamples")


def test_a_slow_results_file_gives_the_same(tmp_path, write):
    """Another order of keys in one record, texts, further keys: the general reader."""
    path = write_predictions(tmp_path, "coco", annotations(1, scores=True))
    truth = write_truth(tmp_path, "coco")
    expected = compare(truth, path, {}).compute()
    records = json.loads(path.read_text())
    records[3] = {"segmentation": {"size": [1, 1], "counts": "x"}, **dict(reversed(records[3].items()))}
    numbers = compare(truth, write("slow.json", records), {}).compute()
    assert numbers == pytest.approx(expected, abs=0, nan_ok=True)


def test_ids_as_text_are_repaired_and_counted(tmp_path, write, caplog):
    path = write_predictions(tmp_path, "coco", annotations(1, scores=True))
    truth = write_truth(tmp_path, "coco")
    expected = compare(truth, path, {}).compute()
    records = [{**record, "image_id": str(record["image_id"])} for record in json.loads(path.read_text())]
    with caplog.at_level(logging.WARNING):
        numbers = compare(truth, write("text.json", records), {}).compute()
    assert numbers == pytest.approx(expected, abs=0, nan_ok=True)
    assert "image_id written as text: taken as a number" in caplog.text


def test_results_that_name_pictures_by_path(tmp_path, write):
    path = write_predictions(tmp_path, "coco", annotations(1, scores=True))
    truth = write_truth(tmp_path, "coco")
    expected = compare(truth, path, {}).compute()
    names = dict(zip((5, 2, 9, 40), FILES, strict=True))
    records = [{**record, "image_id": names[record["image_id"]]} for record in json.loads(path.read_text())]
    numbers = compare(truth, write("paths.json", records), {}).compute()
    assert numbers == pytest.approx(expected, abs=0, nan_ok=True)


GOOD = {"image_id": 5, "category_id": 3, "bbox": [1.0, 2.0, 8.0, 9.0], "score": 0.5}
INFINITE, NOT_ONE = (
    "expected finite numbers, found infinity",
    "expected image_id, category_id, score and bbox",
)
BAD_RECORDS = {  # name: (record after a good one, what the message must say)
    "unknown picture": (
        {**GOOD, "image_id": 6},
        r"expected one of the truth's 4 as image_id \(5, 2, 9, 40\), found 6; 1 records",
    ),
    "unknown category": (
        {**GOOD, "category_id": 4},
        r"expected one of the truth's 2 as category_id \(3, 18\), found 4; 1 records",
    ),
    "unknown path": ({**GOOD, "image_id": "z.jpg"}, r"expected one of the truth's 4 .* found 'z.jpg'"),
    "a fraction as id": ({**GOOD, "image_id": 5.5}, NOT_ONE),
    "infinite score": ({**GOOD, "score": "1e999"}, INFINITE),
    "infinite box": ({**GOOD, "bbox": [1.0, "-1e999", 8.0, 9.0]}, INFINITE),
    "NaN": ({**GOOD, "bbox": [1.0, math.nan, 8.0, 9.0]}, "expected finite numbers, found NaN"),
    "NaN score": ({**GOOD, "score": math.nan}, "expected finite numbers, found NaN"),
    "no score": ({key: value for key, value in GOOD.items() if key != "score"}, NOT_ONE),
    "three numbers": ({**GOOD, "bbox": [1, 2, 3]}, rf'{NOT_ONE}.* found .*"bbox": \[1, 2, 3\]'),
    "five numbers": ({**GOOD, "bbox": [1, 2, 3, 4, 5]}, NOT_ONE),
    "texts": ({**GOOD, "bbox": ["1", "2", "3", "4"]}, NOT_ONE),
    "null": ({**GOOD, "score": None}, NOT_ONE),
    "true": ({**GOOD, "score": True}, NOT_ONE),
    "a list": ([1, 2], NOT_ONE),
    "no object": (7, NOT_ONE),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_records_name_file_and_record(tmp_path, write, name):
    record, message = BAD_RECORDS[name]
    text = json.dumps([GOOD, record]).replace('"1e999"', "1e999").replace('"-1e999"', "-1e999")
    path = write("dt.json", text)
    with pytest.raises(DataError, match=rf"dt.json.*\[1\]: {message}"):
        compare(write_truth(tmp_path, "coco"), path, {})


def test_a_syntax_error_names_the_line(tmp_path, write):
    path = write("dt.json", f"[{json.dumps(GOOD)},\n{json.dumps(GOOD)[:-4]}]")
    with pytest.raises(DataError, match=r"dt.json:2"):
        compare(write_truth(tmp_path, "coco"), path, {})


def test_the_truth_given_as_predictions(tmp_path, write):
    truth = write_truth(tmp_path, "coco")
    with pytest.raises(DataError, match=r"found none on 4|predictions.json|this the truth"):
        compare(truth, truth, {})


def test_corners_written_as_sizes_are_suspected(tmp_path, write, caplog):
    rng = np.random.default_rng(0)
    records = [
        {**GOOD, "bbox": [*corner, *(corner + rng.integers(10, 30, 2))]}
        for corner in rng.integers(20, 50, (60, 2))
    ]
    path = write("dt.json", [{**r, "bbox": [float(v) for v in r["bbox"]]} for r in records])
    with caplog.at_level(logging.WARNING):
        compare(write_truth(tmp_path, "coco"), path, {})
    assert "boxes reach beyond their pictures" in caplog.text
    assert "dt.json" in caplog.text
