"""What was skipped, dropped or repaired is counted once and listed."""

import pickle

import pytest

from visiontasks.errors import DataError
from visiontasks.ledger import Entry, Ledger


def test_entries_keep_their_order_and_count_once():
    ledger = Ledger()
    for _ in range(3):  # three epochs meet the same fault
        ledger.add("skipped", "b.jpg", "truncated")
        ledger.add("dropped", "a.json", "zero area", record=7)
    assert [str(entry) for entry in ledger.entries] == [
        "skipped b.jpg: truncated",
        "dropped a.json, 7: zero area",
    ]
    assert (ledger.count("skipped"), ledger.count("dropped"), ledger.count("repaired")) == (1, 1, 0)


def test_records_of_one_file_are_separate():
    ledger = Ledger()
    for record in range(3):
        ledger.add("dropped", "a.json", "zero area", record)
    assert ledger.count("dropped") == 3


def test_summary_groups_by_kind_with_the_first_example():
    ledger = Ledger()
    ledger.add("repaired", "c.xml", "no size")
    for record in (4, 5, 6):
        ledger.add("dropped", "a.json", "zero area", record)
    ledger.add("repaired", "d.xml", "no size")
    assert ledger.summary() == [
        "dropped 3: zero area (first: a.json, 4)",
        "repaired 2: no size (first: c.xml)",
    ]
    assert Ledger().summary() == []


def test_strict_raises_the_first_and_records_nothing():
    ledger = Ledger(strict=True)
    with pytest.raises(DataError) as caught:
        ledger.add("repaired", "a.jpg", "wrong extension", "row 3")
    assert str(caught.value) == (
        "repaired a.jpg, row 3: wrong extension (--strict: nothing may be skipped or repaired)"
    )
    assert not ledger.entries


def test_drain_and_extend_carry_entries_between_processes():
    worker, main = Ledger(), Ledger()
    worker.add("skipped", "a.jpg", "empty")
    main.add("skipped", "a.jpg", "empty")
    main.add("skipped", "b.jpg", "empty")
    sent = pickle.loads(pickle.dumps(worker.drain()))
    assert not worker.entries and sent == [Entry("skipped", "empty", "a.jpg")]
    main.extend(sent)
    assert [entry.file for entry in main.entries] == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(("count", "allowed"), [(0, True), (1, True), (2, False)])
def test_check_skips_looks_at_records_too(count, allowed):
    ledger = Ledger()
    ledger.lose(0, 3, "boxes")
    ledger.lose(count, 100, "boxes")
    if allowed:
        ledger.check_skips(10, 0.01)
        return
    with pytest.raises(DataError, match=r"^expected at most 1\.0% of 100 boxes to be unusable, found 2; "):
        ledger.check_skips(10, 0.01)


@pytest.mark.parametrize(
    ("skipped", "total", "limit", "allowed"),
    [(0, 0, 0.0, True), (0, 10, 0.0, True), (1, 100, 0.01, True), (2, 100, 0.01, False), (1, 1, 0.5, False)],
)
def test_check_skips_compares_with_the_share(skipped, total, limit, allowed):
    ledger = Ledger()
    for number in range(skipped):
        ledger.add("skipped", f"{number}.jpg", "truncated")
    ledger.add("dropped", "a.json", "not a picture")  # does not count as skipped
    if allowed:
        ledger.check_skips(total, limit)
        return
    with pytest.raises(DataError) as caught:
        ledger.check_skips(total, limit)
    assert str(caught.value) == (
        f"expected at most {limit:.1%} of {total} pictures to be unusable, found {skipped} "
        "(first: 0.jpg: truncated); mend or remove them, or raise --max-skip "
        "(train.max_skip in a config)"
    )
