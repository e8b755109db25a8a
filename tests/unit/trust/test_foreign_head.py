"""A head that a stranger trained whole: base rows plus the change give exactly its logits, or it is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from symbio_lab.errors import TrustError
from symbio_lab.trust.foreign_head import HeadChange, convert_head

LABELS = ("a", "b", "c")
RNG = np.random.default_rng(0)
# Whole numbers: every sum below is exact in float32, so that "the same function" is an equality.
WEIGHT = RNG.integers(-8, 9, size=(3, 4)).astype(np.float32)
BIAS = RNG.integers(-8, 9, size=3).astype(np.float32)
OWN: dict[str, NDArray[np.float32] | None] = {"weight": WEIGHT, "bias": BIAS}


def refusal(trained: dict[str, Any], names: Sequence[str] | None = None, own: dict[str, Any] | None = None) -> str:
    with pytest.raises(TrustError) as caught:
        convert_head(trained, OWN if own is None else own, LABELS, names)
    assert caught.value.code == "bad_tensors"
    assert caught.value.hint
    return str(caught.value)


def patched_logits(change: HeadChange, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Logits of the base with the change, by label."""
    weight = WEIGHT if change.delta is None else WEIGHT + change.delta[1] @ change.delta[0]
    logits = dict(zip(LABELS, (x @ weight.T + BIAS).T, strict=True))
    if change.rows is not None:
        logits |= dict(zip(change.rows.labels, (x @ change.rows.weight.T + change.rows.bias).T, strict=True))
    return logits


def test_no_head_and_an_unchanged_head_change_nothing() -> None:
    for trained in ({}, {"weight": WEIGHT.copy(), "bias": BIAS.copy()}, {"weight": WEIGHT.copy()}):
        change = convert_head(trained, OWN, LABELS)
        assert (change.delta, change.rows, change.notes) == (None, None, ())


@pytest.mark.parametrize("changed", [[0], [2], [0, 2], [0, 1, 2]])
def test_a_change_has_as_many_ranks_as_rows_changed(changed: list[int]) -> None:
    weight = WEIGHT.copy()
    weight[changed] += 3
    change = convert_head({"weight": weight, "bias": BIAS}, OWN, LABELS)
    assert change.delta is not None
    assert (change.delta[0].shape, change.delta[1].shape) == ((len(changed), 4), (3, len(changed)))
    np.testing.assert_array_equal(WEIGHT + change.delta[1] @ change.delta[0], weight)
    assert change.rows is None
    assert change.notes == (f"the weights of {len(changed)} row(s) of the head change",)


def test_a_row_of_a_new_label_brings_its_own_bias() -> None:
    change = convert_head({"weight": np.full((1, 4), 5, np.float32), "bias": np.float32([-2])}, OWN, LABELS, ["new"])
    assert change.rows is not None
    assert (change.rows.labels, change.rows.bias.tolist()) == (("new",), [-2.0])
    assert "3 row(s) of the base stay and compete (a ...)" in change.notes[0]


@pytest.mark.parametrize("own_bias", [BIAS, None])
def test_without_a_bias_in_the_file_the_base_s_own_is_in_force(own_bias: NDArray[np.float32] | None) -> None:
    weight = np.concatenate([WEIGHT + 1, np.ones((1, 4), np.float32)])
    change = convert_head({"weight": weight}, {"weight": WEIGHT, "bias": own_bias}, LABELS, [*LABELS, "new"])
    assert change.rows is not None
    assert change.rows.bias.tolist() == [0.0]


def test_a_base_without_a_bias_accepts_zeros_only() -> None:
    own = {"weight": WEIGHT, "bias": None}
    assert convert_head({"weight": WEIGHT, "bias": np.zeros(3, np.float32)}, own, LABELS).delta is None
    assert "not their biases" in refusal({"weight": WEIGHT, "bias": np.ones(3, np.float32)}, own=own)


@pytest.mark.parametrize("changed", range(3))
def test_the_smallest_change_of_a_bias_is_refused_and_its_row_named(changed: int) -> None:
    bias = BIAS.copy()
    bias[changed] = np.nextafter(bias[changed], np.float32(np.inf))
    told = refusal({"weight": WEIGHT, "bias": bias})
    assert f"the bias of 1 row(s) of the head changed ({LABELS[changed]} ...)" in told


@pytest.mark.parametrize(
    ("trained", "names", "told"),
    [
        ({"bias": BIAS}, None, "without its weight"),
        ({"weight": WEIGHT[:2], "bias": BIAS[:2]}, None, "2 rows, the base 3"),
        ({"weight": WEIGHT, "bias": BIAS[:2]}, None, "3 rows, but 2 biases"),
        ({"weight": WEIGHT, "bias": BIAS}, ["a", "b"], "3 rows, but 2 labels"),
        ({"weight": WEIGHT, "bias": BIAS}, ["a", "b", "b"], "3 rows, but 2 labels"),
        ({"weight": WEIGHT, "bias": BIAS}, [], "3 rows, but 0 labels"),
    ],
)
def test_rows_that_cannot_be_told_apart(trained: dict[str, Any], names: list[str] | None, told: str) -> None:
    assert told in refusal(trained, names)


def test_a_base_without_a_head_has_nothing_to_change() -> None:
    assert "without its weight" in refusal({"weight": WEIGHT, "bias": BIAS}, own={"weight": None, "bias": None})


@settings(max_examples=80, deadline=None)
@given(
    names=st.permutations([*LABELS, "x", "y"]).flatmap(lambda order: st.integers(1, 5).map(lambda n: order[:n])),
    changed=st.sets(st.sampled_from(LABELS)),
    seed=st.integers(0, 9),
)
def test_every_row_of_the_file_gives_its_own_logit_whatever_the_order(
    names: list[str], changed: set[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-8, 9, size=(len(names), 4)).astype(np.float32)
    bias = rng.integers(-8, 9, size=len(names)).astype(np.float32)
    for i, name in enumerate(names):
        if name in LABELS:
            bias[i] = BIAS[LABELS.index(name)]
            if name not in changed:
                weight[i] = WEIGHT[LABELS.index(name)]
    x = rng.integers(-4, 5, size=(6, 4)).astype(np.float32)
    change = convert_head({"weight": weight, "bias": bias}, OWN, LABELS, names)
    logits = patched_logits(change, x)
    for name, expected in zip(names, (x @ weight.T + bias).T, strict=True):
        np.testing.assert_array_equal(logits[name], expected)
    for label in set(LABELS) - set(names):
        np.testing.assert_array_equal(logits[label], (x @ WEIGHT.T + BIAS).T[LABELS.index(label)])
    assert set(logits) == {*LABELS, *names}
    assert change.delta is None or len(change.delta[0]) <= len(changed & set(names))
