"""What fuzzing found, so that it stays mended: a piece of a sound file, what it was replaced by, the line."""

import re

import pytest

from tests.fuzz.targets import TARGETS, Trial
from visiontasks.config_files import MOST_FAULTS, parse_config
from visiontasks.detection.proposals import read_proposals
from visiontasks.errors import LONGEST_LINE, ConfigError, DataError
from visiontasks.io.files import read_document, read_yaml
from visiontasks.ledger import Ledger
from visiontasks.segmentation.datasets.mask_values import read_colours
from visiontasks.tasks import load_task

LONG = b"x" * 300
IN_SPLITS = {  # target -> format, location of the split, piece, replacement, the line
    "a name that is too long for a file, VOC": (
        *("detection/voc: ImageSets/Main/train.txt", "train", b"hen", LONG),
        r"train\.txt:3: .*expected a path that can exist, found 'x{100}",
    ),
    "a name that is too long for a file, YOLO": (
        *("detection/yolo, a list: train.txt", "train", b"hen.png", LONG),
        r"train\.txt:3: .*expected a path that can exist, found '\./images/train/x{100}",
    ),
    "a name that is too long for a file, data.yaml": (
        *("detection/yolo, a list: data.yaml", "train", b"train.txt", LONG),
        r"expected a path that can exist, found 'x{100}",
    ),
    "half a surrogate pair": (
        *("detection/coco: annotations/train.json", "annotations/train.json", b"hen.png", rb"\ud800.png"),
        r"train\.json, images\[2\]: .*expected a path that can exist, found '\\ud800\.png'",
    ),
    "a number of a class of thousands of digits": (
        *("detection/yolo, a list: data.yaml", "train", b"  0: cat", b"  ? %b\n  : cat" % (b"9" * 5000)),
        r"data\.yaml: expected names numbered 0, 1, \.\.\., found 999",
    ),
    "a NUL in an absolute path of data.yaml": (
        *("detection/yolo, a list: data.yaml", "train", b"train.txt", rb'"/x\0y"'),
        r"expected a path relative to this folder, found '/x\\x00y'",
    ),
}


@pytest.mark.parametrize("case", IN_SPLITS)
def test_splits(case, tmp_path):
    target, split, piece, replacement, line = IN_SPLITS[case]
    trial = Trial(TARGETS[target], tmp_path)
    assert trial.sound.count(piece) >= 1
    trial.file.write_bytes(trial.sound.replace(piece, replacement))
    found, data_format = load_task("detection"), re.split("[/,:]", target)[1]
    section = found.config.model_fields["data"].annotation
    config = section.model_validate({"format": data_format, "root": str(tmp_path), "train": split})
    with pytest.raises(DataError, match=line):
        found.open_source(config, "train", Ledger(), None)


def test_a_picture_whose_name_has_a_nul(tmp_path):
    with pytest.raises(DataError, match=r"a\\x00\.json: expected a JSON file, found no such file"):
        read_document(tmp_path / "a\0.json")


def test_an_integer_that_no_float_holds_in_a_file_of_regions(tmp_path):
    trial = Trial(TARGETS["detection/proposals"], tmp_path)
    trial.file.write_bytes(trial.sound.replace(b"3.5", b"9" * 400))
    with pytest.raises(DataError, match=r"a\.json: picture 'a\.jpg': expected boxes"):
        read_proposals.__wrapped__(trial.file)


def test_an_id_of_thousands_of_digits_in_results(tmp_path):
    trial = Trial(TARGETS["evaluate detection, dt.json"], tmp_path)
    trial.file.write_bytes(trial.sound.replace(b'"image_id": 2', b'"image_id": "%s"' % (b"9" * 5000)))
    with pytest.raises(
        DataError, match=r"dt\.json, record \[\d+\]: expected one of the truth's 4 as image_id"
    ):
        load_task("detection").compare(tmp_path / "gt.json", trial.file, {})


def test_thousands_of_faults_of_a_config(tmp_path):
    trial = Trial(TARGETS["config/classification"], tmp_path)
    trial.file.write_text("".join(f"key{number}: 0\n" for number in range(5000)))
    values, lines = read_yaml(trial.file)
    with pytest.raises(ConfigError, match=r"config\.yaml:1: unknown key 'key0'") as caught:
        parse_config(load_task("classification").config, values, file="config.yaml", lines=lines)
    assert len(caught.value.faults) == MOST_FAULTS + 1
    assert re.fullmatch(r"config\.yaml: and 49\d\d more faults", caught.value.faults[-1])


def test_a_colour_of_thousands_of_digits(tmp_path):
    (tmp_path / "colours.csv").write_text(f"name,r,g,b\nsky,1,2,3\nroad,1,{'9' * 5000},3\n")
    with pytest.raises(
        DataError, match=r"colours\.csv, row 2: expected name, r, g, b with numbers of 0 to 255"
    ):
        read_colours(tmp_path / "colours.csv")


def test_a_message_about_a_long_text_with_line_ends_is_one_line(tmp_path):
    trial = Trial(TARGETS["evaluate classification, truth.csv"], tmp_path)
    trial.file.write_bytes(trial.sound.replace(b"cat", b'"' + b"c\r\n\x1b[31m" * 1000 + b'"'))
    with pytest.raises(DataError, match=r"found\.csv, a/1\.jpg: unknown class 'cat'") as caught:
        load_task("classification").compare(trial.file, tmp_path / "found.csv", {})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= LONGEST_LINE + 5
    assert str(caught.value).endswith("with --classes")  # what to do, at the end, is there
