"""What every shift test on embeddings promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from symbio_lab.errors import ConfigError, DataError, EmptySliceError
from symbio_lab.monitor.detectors.domain_classifier import DomainClassifier
from symbio_lab.monitor.detectors.mmd import Mmd
from symbio_lab.monitor.detectors.shift_test import MIN_ROWS, ShiftTest
from symbio_lab.seeding import numpy_generator

TESTS: dict[str, Callable[..., Any]] = {"mmd": Mmd, "domain_classifier": DomainClassifier}
EVERY = pytest.mark.parametrize("name", TESTS)


def rows(seed: int, n: int, *, mean: float = 0.0, width: int = 16) -> Any:
    return numpy_generator(seed, "shift contract").normal(mean, 1.0, (n, width))


@EVERY
def test_a_test_follows_the_protocol_and_says_what_it_used(name: str) -> None:
    test = TESTS[name](seed=0, num_permutations=19, max_rows=50)
    assert isinstance(test, ShiftTest)
    found = test.compare(rows(0, 40), rows(1, 90))
    assert (found.name, found.n_reference, found.n_current) == (name, 40, 50)
    assert test.name == name
    assert 1 / 20 <= found.p_value <= 1.0


@EVERY
def test_a_shift_is_found_and_no_shift_is_not(name: str) -> None:
    test = TESTS[name](seed=0, num_permutations=39)
    assert test.compare(rows(0, 120), rows(1, 120)).p_value > 0.1
    assert test.compare(rows(0, 120), rows(1, 120, mean=0.5)).p_value == 1 / 40


@EVERY
def test_the_seed_decides_everything(name: str) -> None:
    first, second = rows(0, 80), rows(1, 80, mean=0.1)
    make = TESTS[name]
    found = make(seed=1, num_permutations=19, max_rows=40).compare(first, second)
    assert found == make(seed=1, num_permutations=19, max_rows=40).compare(first, second)
    assert found != make(seed=2, num_permutations=19, max_rows=40).compare(first, second)


@EVERY
def test_the_input_is_not_changed(name: str) -> None:
    first, second = rows(0, 30), rows(1, 30)
    before = first.copy(), second.copy()
    TESTS[name](seed=0, num_permutations=19).compare(first, second)
    assert np.array_equal(first, before[0])
    assert np.array_equal(second, before[1])


@EVERY
def test_single_precision_is_fine(name: str) -> None:
    found = TESTS[name](seed=0, num_permutations=19).compare(
        rows(0, 30).astype(np.float32), rows(1, 30, mean=2.0).astype(np.float32)
    )
    assert found.p_value == 1 / 20


@EVERY
def test_identical_rows_show_no_shift(name: str) -> None:
    same = np.ones((30, 4))
    assert TESTS[name](seed=0, num_permutations=19).compare(same, same).p_value == 1.0


@EVERY
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (np.empty((0, 16)), EmptySliceError),
        (np.ones((MIN_ROWS - 1, 16)), DataError),
        (np.full((20, 16), np.nan), DataError),
        (np.full((20, 16), np.inf), DataError),
        (np.ones((20, 15)), DataError),
        (np.ones(20), DataError),
        ([["a"] * 16] * 20, DataError),
        ([[1.0], [1.0, 2.0]] * 10, DataError),
    ],
    ids=["empty", "few", "nan", "inf", "width", "flat", "text", "ragged"],
)
def test_bad_samples_raise_typed_errors(name: str, bad: Any, error: type[Exception]) -> None:
    test = TESTS[name](seed=0, num_permutations=19)
    for pair in ((rows(0, 20), bad), (bad, rows(0, 20))):
        with pytest.raises(error):
            test.compare(*pair)


@EVERY
@pytest.mark.parametrize("settings", [{"num_permutations": 18}, {"max_rows": MIN_ROWS - 1}])
def test_settings_out_of_range_are_refused(name: str, settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        TESTS[name](seed=0, **settings)


@pytest.mark.parametrize("settings", [{"num_folds": 1}, {"num_folds": MIN_ROWS + 1}, {"num_components": 0}])
def test_settings_of_the_domain_classifier(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        DomainClassifier(seed=0, **settings)
