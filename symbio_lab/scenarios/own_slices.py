"""Which rows of a user's data are the failing slice: a column's value, or a pattern of the failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.models.protocol import PatchableModel
from symbio_lab.monitor.patterns import failure_records, find_patterns, typical_words, words_of
from symbio_lab.records import Sample


@dataclass(frozen=True, slots=True)
class Slice:
    """Some rows of the data."""

    name: str
    """For people and folders, e.g. ``topic=returns``."""
    about: str
    """What its requests are about, in the words that a search uses, e.g. ``returns``."""
    holds: Callable[[Sample], bool]
    """Whether a row belongs to it."""


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


def value_slice(field: str, value: str) -> Slice:
    """Return the slice of a column's value: rows whose column, read as their domain, has it."""
    return Slice(f"{field}={value}", value, lambda sample: sample.domain == value)


def check_slice(
    samples: Sequence[Sample], name: str, value: str, *, n_repair: int, min_controls: int, held_back: float
) -> None:
    """Raise what is wrong with a named slice before the model runs.

    Raises:
        EmptySliceError: no row has this value, there are fewer rows than ``n_repair``, or too few outside it.
    """
    inside = sum(s.domain == value for s in samples)
    if not inside:
        common = ", ".join(v for v, _ in Counter(s.domain for s in samples if s.domain).most_common(8))
        raise EmptySliceError(f"no row has {name}={value}", hint=f"values of {name}: {common or 'none'}")
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
    model: PatchableModel,
    samples: Sequence[Sample],
    outputs: Sequence[str],
    wrong: Sequence[bool],
    *,
    domain_field: str | None = None,
) -> tuple[Slice, ...]:
    """Return the failure patterns as slices, the one with most failures first.

    Patterns are the values of ``domain_field`` where it is named; else the gold labels (classification), or the words
    that are most typical of the failures (generation). Rows that the model gets right belong to a pattern as well.

    Args:
        model: who answered.
        samples: all rows, (N,).
        outputs: its answers, (N,).
        wrong: which of them are wrong, (N,).
        domain_field: column that ``samples`` carry as their domain.

    Raises:
        EmptySliceError: none is wrong.
    """
    failed = [i for i, bad in enumerate(wrong) if bad]
    if not failed:
        raise EmptySliceError(
            f"the model answers all {len(samples)} rows rightly", hint="there is nothing to heal here"
        )
    if domain_field is None and model.task_type == "text_generation":
        texts = [samples[i].text for i in failed]
        counts = Counter(word for text in texts for word in words_of(text))
        typical = typical_words(texts, [s.text for s in samples])
        words = sorted(typical, key=lambda word: -counts[word])
        return tuple(_word_slice(word) for word in words)
    named = list(samples) if domain_field else [replace(s, domain=s.expected) for s in samples]
    records = failure_records(
        [named[i] for i in failed],
        [outputs[i] for i in failed],
        model_id=model.model_id,
        model_revision=model.digest,
        task_type=model.task_type,
    )
    domains = {r.failure_id: r.domain for r in records}
    found = find_patterns(records, Counter(s.domain for s in named))
    values = [value for p in found if (value := domains[p.members[0]])]
    if domain_field:
        return tuple(value_slice(domain_field, value) for value in values)
    return tuple(_label_slice(value) for value in values)


def _label_slice(label: str) -> Slice:
    return Slice(f"requests of {label!r}", label, lambda sample: sample.expected == label)


def _word_slice(word: str) -> Slice:
    return Slice(f"inputs with {word!r}", word, lambda sample: word in words_of(sample.text))
