"""A few seeded inputs of each target of the fuzzer, `fuzz_avq.py`, which runs many more."""

import random
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from inputs import mutate
from targets import TARGETS

from astro_vq.errors import AstroVQError

INPUTS = {"streams": 200, "arrays": 100, "side": 100, "configs": 30, "hdf5": 20, "models": 3}


@pytest.mark.parametrize("target", sorted(TARGETS.keys() - {"tokens"}))  # that one needs torch
def test_damaged_inputs_are_refused_or_taken_but_never_do_harm(target):
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(INPUTS.get(target, 25)):
            try:
                TARGETS[target](random.Random(seed))
            except AstroVQError:
                refused += 1
    assert refused > 0


def test_inputs_come_from_their_seed_alone():
    data = bytes(range(200))
    first, second = (mutate(random.Random(3), data, b"end") for _ in range(2))
    assert first == second != data
