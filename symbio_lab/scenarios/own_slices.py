"""Which rows of a user's data are the failing slice: a column's value, or a pattern of the failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.monitor.patterns import failure_records, find_patterns, typical_words
from symbio_lab.records import Sample

Predicate = Callable[[Sample], bool]
"""Whether a row belongs to the slice."""


def slice_of(text: str) -> tuple[str, str]:
    """Return field and value of ``FIELD=VALUE``.

    Raises:
        DataError: there is no ``=``, or no field.

    >>> slice_of("topic=returns")
    ('topic', 'returns')
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise DataError(f"--slice {text!r}: not FIELD=VALUE", hint="name a column and its value: --slice topic=returns")
    return name.strip(), value.strip()


def value_is(value: str) -> Predicate:
    """Return the predicate of a named slice: rows whose column (read as their domain) has this value."""
    return lambda sample: sample.domain == value


def check_slice(
    samples: Sequence[Sample], name: str, value: str, *, n_repair: int, min_controls: int, held_back: float
) -> None:
    """Raise what is wrong with a named slice before the model runs.

    Raises:
        EmptySliceError: no row has this value, there are fewer rows than ``n_repair``, or too few outside it.
    """
    inside = sum(s.domain == value for s in samples)
    if not inside:
        common = ", ".join(v for v, _ in Counter(s.domain for s in samples).most_common(8))
        raise EmptySliceError(f"no row has {name}={value}", hint=f"values of {name}: {common}")
    if inside < n_repair:
        raise EmptySliceError(f"{inside} rows have {name}={value}, fewer than --n-repair {n_repair}")
    check_controls(round((1 - held_back) * (len(samples) - inside)), min_controls)


def check_controls(num_controls: int, min_controls: int) -> None:
    """Raise ``EmptySliceError`` when the gate, which gets half of the control traffic, could never accept."""
    if num_controls // 2 < min_controls:
        raise EmptySliceError(
            f"{num_controls} control rows are left outside the slice; the gate gets half and needs {min_controls}",
            hint=f"give at least {2 * min_controls - num_controls} more labelled rows outside the slice",
        )


def failure_patterns(
    model: PatchableModel, samples: Sequence[Sample], outputs: Sequence[str], wrong: Sequence[bool]
) -> dict[str, Predicate]:
    """Return predicates of the failure patterns by name, the largest first.

    Args:
        model: who answered.
        samples: all rows, (N,).
        outputs: its answers, (N,).
        wrong: which of them are wrong, (N,).

    Raises:
        EmptySliceError: none is wrong.
    """
    failed = [i for i, bad in enumerate(wrong) if bad]
    if not failed:
        raise EmptySliceError(
            f"the model answers all {len(samples)} rows rightly", hint="there is nothing to heal here"
        )
    if model.task_type == "text_generation":
        inside = [samples[i].text for i in failed]
        words = typical_words(inside, [s.text for s in samples])
        return {f"inputs with {word!r}": _has_word(word) for word in words}
    as_domain = [replace(samples[i], domain=samples[i].expected) for i in failed]
    records = failure_records(
        as_domain,
        [outputs[i] for i in failed],
        model_id=model.model_id,
        model_revision=model.digest,
        task_type=model.task_type,
    )
    seen = Counter(s.expected for s in samples)
    return {f"requests of {p.labels[0]!r}": _gold_is(p.labels[0]) for p in find_patterns(records, seen)}


def _gold_is(label: str) -> Predicate:
    return lambda sample: sample.expected == label


def _has_word(word: str) -> Predicate:
    return lambda sample: word in sample.text.lower().split()
