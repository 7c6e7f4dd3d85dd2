"""A class is its name: lists are joined by name, never by index."""

import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visiontasks.classes import ClassMap, join_classes, parse_class_mapping
from visiontasks.errors import DataError, UsageError

NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name == name.strip())


def test_indices_are_places():
    classes = ClassMap(("cat", "dog", "größe"), (18, 17, "x"))
    assert len(classes) == 3
    assert [classes.index(name) for name in classes.names] == [0, 1, 2]
    with pytest.raises(dataclasses.FrozenInstanceError):
        classes.names = ()


@pytest.mark.parametrize(
    ("names", "file_ids", "message"),
    [
        ((), (), "expected at least one class, found none; name them"),
        (("a", "b", "a", "c", "b"), (), "expected distinct class names, found twice: a, b; rename one"),
        (("a", ""), (), "expected class names without outer spaces, found ''; rename it"),
        (("a", " b"), (), "expected class names without outer spaces, found ' b'; rename it"),
        (("a", "b"), (1,), "expected 2 file ids, one a class, found 1"),
    ],
)
def test_lists_that_are_no_contract_are_refused(names, file_ids, message):
    with pytest.raises(DataError) as caught:
        ClassMap(names, file_ids)
    assert str(caught.value) == message


def test_unknown_class_names_the_nearest():
    with pytest.raises(DataError) as caught:
        ClassMap(("zebra", "horse")).index("hors")
    assert str(caught.value) == "unknown class 'hors'; did you mean 'horse'? choices: horse, zebra"


def test_renamed_keeps_order_and_file_ids():
    classes = ClassMap(("cat", "dog"), (3, 5)).renamed({"cat": "tiger"})
    assert classes == ClassMap(("tiger", "dog"), (3, 5))
    swapped = ClassMap(("a", "b")).renamed({"a": "b", "b": "a"})
    assert swapped.names == ("b", "a")
    with pytest.raises(DataError, match=r"unknown class 'cow'; .*choices: cat, dog"):
        ClassMap(("cat", "dog")).renamed({"cow": "x"})
    with pytest.raises(DataError, match="found twice: dog"):
        ClassMap(("cat", "dog")).renamed({"cat": "dog"})


@given(st.lists(NAMES, min_size=1, max_size=20, unique=True), st.randoms(use_true_random=False))
def test_join_maps_each_name_to_itself(names, random):
    theirs = list(names)
    random.shuffle(theirs)
    index = join_classes(ClassMap(tuple(names)), ClassMap(tuple(theirs)), ours_name="a", theirs_name="b")
    assert index.dtype == np.int64
    assert [names[i] for i in index] == theirs


def test_join_shows_the_difference_and_the_way_out():
    ours, theirs = ClassMap(("cat", "dog", "cow")), ClassMap(("dog", "tiger", "lion", "cat"))
    with pytest.raises(DataError) as caught:
        join_classes(ours, theirs, ours_name="the model", theirs_name="val.json")
    assert str(caught.value) == (
        "expected the same class names in the model and val.json; only in the model: cow; "
        "only in val.json: tiger, lion; map them with --map-class tiger=cow"
    )
    with pytest.raises(DataError, match="only in b: dog; map them with --map-class dog=NEW"):
        join_classes(ClassMap(("cat",)), ClassMap(("cat", "dog")), ours_name="a", theirs_name="b")
    with pytest.raises(DataError, match="only in a: dog; map them with --map-class OLD=dog"):
        join_classes(ClassMap(("cat", "dog")), ClassMap(("cat",)), ours_name="a", theirs_name="b")


def test_parse_class_mapping():
    assert parse_class_mapping(["a=b", " c d = e=f "]) == {"a": "b", "c d": "e=f"}
    assert parse_class_mapping([]) == {}
    for pair in ("a", "=b", "a=", " = ", ""):
        with pytest.raises(UsageError, match=f"^expected --map-class old=new, found '{pair}'$"):
            parse_class_mapping([pair])


def test_row_20_order_does_not_depend_on_the_hash_seed():
    program = (
        "from visiontasks.classes import *; a = ClassMap(tuple('hgfedcba')); "
        "print(join_classes(a, ClassMap(tuple('abcdefgh')), ours_name='a', theirs_name='b').tolist())\n"
        "try: join_classes(a, ClassMap(tuple('abxyz')), ours_name='a', theirs_name='b')\n"
        "except Exception as error: print(error)"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed), "PYTHONPATH": ":".join(sys.path)},
        ).stdout
        for seed in range(5)
    }
    assert len(answers) == 1
    assert answers.pop().startswith("[7, 6, 5, 4, 3, 2, 1, 0]\n")


def test_twenty_thousand_classes_take_no_time():
    names = tuple(f"class {number}" for number in range(20_000))
    start = time.process_time()
    index = join_classes(ClassMap(names), ClassMap(names[::-1]), ours_name="a", theirs_name="b")
    assert time.process_time() - start < 1
    assert index[0] == 19_999
