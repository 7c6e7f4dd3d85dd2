"""CSV files of boxes."""

import pytest
from annotated_files import CLASSES, annotations_of, assert_same, open_split, save_picture

from visiontasks.detection.datasets.csv_file import write_csv_boxes
from visiontasks.errors import DataError

ROWS = """\
path,x1,y1,x2,y2,label
b.png,1,2,11.5,20,dog
a é.png,,,,,
b.png,0,0,60,40, cat
"""


def build(root, text=ROWS):
    for name in ("a é.png", "b.png"):
        save_picture(root / name)
    (root / "train.csv").write_text(text)


def open_csv(root, **values):
    return open_split(root, "csv", **{"train": "train.csv", **values})


def test_golden(tmp_path):
    build(tmp_path)
    source = open_csv(tmp_path, strict=True)
    assert source.classes.names == ("cat", "dog")
    assert list(source.annotations.files) == ["a é.png", "b.png"]
    assert len(source[0].target) == 0
    assert source[1].target.boxes.tolist() == [[1, 2, 11.5, 20], [0, 0, 60, 40]]
    assert source[1].target.labels.tolist() == [1, 0]
    assert source.annotations.records.tolist() == [1, 3]
    assert source.annotations.sizes.tolist() == [[40, 60]] * 2


HEADERS = {
    "long": "filename,xmin,ymin,xmax,ymax,class\nb.png,1,2,11,20,dog\n",
    "TensorFlow": "filename,width,height,class,xmin,ymin,xmax,ymax\nb.png,60,40,dog,1,2,11,20\n",
    "capitals, other columns": "Image,Left,Top,Right,Bottom,Label,camera\nb.png,1,2,11,20,dog,7\n",
    "sizes": "path,x,y,w,h,label\nb.png,1,2,10,18,dog\n",
    "our names first": "name,file,path,x1,y1,x2,y2,label\nx,y,b.png,1,2,11,20,dog\n",
    "mark and CRLF": "\ufeffpath,x1,y1,x2,y2,label\r\nb.png,1,2,11,20,dog\r\n",
    "quotes": 'path,x1,y1,x2,y2,label\n"./b.png","1",2, 11 ,20,"dog"\n',
    "flags": "path,x1,y1,x2,y2,label,crowd,difficult,area\nb.png,1,2,11,20,dog,0,false,180\n",
}


@pytest.mark.parametrize("case", HEADERS)
def test_columns_by_their_usual_names(tmp_path, case):
    build(tmp_path, HEADERS[case])
    source = open_csv(tmp_path, strict=True)
    assert source[0].image_id == "b.png"
    assert source[0].target.boxes.tolist() == [[1, 2, 11, 20]]
    assert source.classes.names == ("dog",)


HEADER = "path,x1,y1,x2,y2,label\n"
SIZED = "path,x1,y1,x2,y2,label,width,height\n"
FAULTS = {
    "no header": ("b.png,1,2,11,20,dog\nb.png,1,2,11,20,cat\n", r"expected the columns.*found b\.png, 1"),
    "no label column": ("path,x1,y1,x2,y2\nb.png,1,2,3,4\n", "add or rename label"),
    "no x2 column": ("path,x1,y1,y2,label\nb.png,1,2,4,dog\n", "add or rename x2"),
    "no rows": (HEADER, "expected rows under the header, found none"),
    "no boxes": (f"{HEADER}b.png,,,,,\n", "expected boxes, found 1 pictures without any"),
    "no number": (f"{HEADER}b.png,1,2,3,4,a\nb.png,1,x,3,4,a\n", "row 2: expected a number as y1, found 'x'"),
    "empty": (f"{HEADER}b.png,1,,3,4,a\n", "row 1: expected a number as y1, found ''; fill it in"),
    "NaN": (f"{HEADER}b.png,1,nan,3,4,a\n", "row 1: expected finite numbers, found y1 nan; correct it"),
    "no label": (f"{HEADER}b.png,1,2,3,4,\n", "row 1: expected a label, found none"),
    "label alone": (f"{HEADER}b.png,,,,,dog\n", "row 1: expected a number as x1, found ''"),
    "no path": (f"{HEADER} ,1,2,3,4,a\n", "row 1: expected the path of a picture, found none"),
    "leads out": (f"{HEADER}../b.png,1,2,3,4,a\n", "row 1: .*which has '..' in it"),
    "absolute": (f"{HEADER}/etc/passwd,1,2,3,4,a\n", "row 1: .*expected a path relative to this folder"),
    "flag": (f"{HEADER[:-1]},crowd\nb.png,1,2,3,4,a,x\n", "row 1: expected crowd 0 or 1, found 'x'; correct"),
    "size": (f"{SIZED}b.png,1,2,3,4,a,-6,4\n", "row 1: expected height and width in pixels"),
    "two sizes": (
        f"{SIZED}b.png,1,2,3,4,a,60,40\nb.png,1,2,3,4,a,60,41\n",
        "row 2: expected one size of a picture, found 41 x 60 after 40 x 60",
    ),
    "fields": (f"{HEADER}b.png,1,2,3\n", ":2: expected 6 fields"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_names_file_and_row(tmp_path, case):
    text, message = FAULTS[case]
    build(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        open_csv(tmp_path)
    assert "train.csv" in str(caught.value)


def test_paths_below_the_folder_of_pictures(tmp_path):
    build(tmp_path / "data")
    source = open_csv(tmp_path, train="data/train.csv")  # beside the file
    assert list(source.annotations.files) == ["data/a é.png", "data/b.png"]
    (tmp_path / "data/train.csv").rename(tmp_path / "train.csv")
    assert open_csv(tmp_path, images="data")[1].image_id == "data/b.png"
    with pytest.raises(DataError, match=r"train\.csv: expected its pictures \('b\.png'.*set data\.images"):
        open_csv(tmp_path)


@pytest.mark.parametrize(
    "flags", [{}, {"crowd": [False, True]}, {"difficult": [True, False], "area": [1.5, 600]}]
)
def test_flags_are_written_where_there_are_any(tmp_path, flags):
    truth = annotations_of({"a é.png": [], "b.png": [((1, 2, 30, 40), 1), ((0, 0, 30, 20), 0)]}, **flags)
    build(tmp_path)
    write_csv_boxes(tmp_path / "train.csv", CLASSES, truth)
    header = (tmp_path / "train.csv").read_text().splitlines()[0].split(",")
    assert header[6:] == list(flags)
    source = open_csv(tmp_path, wanted=CLASSES, strict=True)
    assert_same(
        source.annotations, truth, columns=("boxes", "labels", "crowd", "difficult", "area"), tolerance=0
    )


def test_predictions_have_scores(tmp_path):
    found = annotations_of({"b.png": [((1, 2, 30, 40), 1)], "c.png": []}, scores=[0.5])
    write_csv_boxes(tmp_path / "out.csv", CLASSES, found)
    assert (tmp_path / "out.csv").read_text() == (
        "path,x1,y1,x2,y2,label,score\nb.png,1.0,2.0,30.0,40.0,dog,0.5\nc.png,,,,,,\n"
    )
