"""Damaged at random, every file is read or refused in one line, within seconds and a cap on memory.

A folder of its own: the table of targets and the mutations serve `tools/fuzz/parsers.py` too, which runs for
as long as one likes. With VISIONTASKS_FUZZ=20000 in the environment, so many inputs a target are tried here,
other ones each time, and each large file by each reader.
"""

import logging
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.large import LARGE
from tests.fuzz.mutations import damage
from tests.fuzz.targets import FILES, TARGETS, Trial, capped_memory

INPUTS = os.environ.get("VISIONTASKS_FUZZ")
LARGE_CASES = [  # those of the formats themselves, at least
    (name, kind)
    for name, target in (TARGETS if INPUTS else FILES).items()
    for kind in LARGE.get(target.suffix, ())
]


@pytest.fixture(scope="module", autouse=True)
def limits():
    logging.disable()  # warnings about damaged data are no news
    with capped_memory():
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_read_or_refused(name, tmp_path_factory):
    trial = Trial(TARGETS[name], tmp_path_factory.mktemp("data"))
    trial.read(trial.sound)

    @settings(
        max_examples=int(INPUTS or 8), derandomize=not INPUTS, suppress_health_check=[HealthCheck.too_slow]
    )
    @given(st.randoms(use_true_random=False))
    def read(rng):
        trial.read(damage(trial.sound, trial.target.suffix, rng))

    read()


@pytest.mark.parametrize(("name", "kind"), LARGE_CASES)
def test_a_large_file_is_read_or_refused_in_time(name, kind, tmp_path):
    trial = Trial(TARGETS[name], tmp_path)
    trial.read(LARGE[trial.target.suffix][kind])
