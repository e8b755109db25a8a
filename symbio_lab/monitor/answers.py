"""Answers of any callable model, as texts, outputs and confidences: what ``watch`` can read.

Read are: a label; ``(label, score)``; ``{"label", "score"}``; a list of these for all labels (the best counts);
``{"generated_text"}``, also of chats; lists or arrays of any of them, one for each text; ``Predictions``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from symbio_lab.errors import DataError

_TEXT_ARGUMENTS = ("inputs", "texts", "text", "text_inputs")
_OUTPUTS = ("label", "generated_text", "translation_text", "summary_text", "output", "answer")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a model."""

    text: str
    output: str
    confidence: float | None
    """In [0, 1]; None where the model gives none."""


def read_answers(arguments: Sequence[Any], keywords: Mapping[str, Any], result: Any) -> tuple[Answer, ...]:
    """Return what a call asked and what it answered, one for each text, in order.

    Args:
        arguments: positional arguments of the call; the first one holds the text or texts.
        keywords: its keyword arguments.
        result: what the model returned; never changed or consumed.

    Raises:
        DataError: texts or answers cannot be read, or there are not as many of the ones as of the others.

    >>> read_answers(["hi"], {}, [{"label": "greet", "score": 0.5}])
    (Answer(text='hi', output='greet', confidence=0.5),)
    >>> [a.output for a in read_answers([["hi", "bye"]], {}, ["greet", "leave"])]
    ['greet', 'leave']
    """
    given = arguments[0] if arguments else next((keywords[n] for n in _TEXT_ARGUMENTS if n in keywords), None)
    if isinstance(given, str) or (isinstance(given, Mapping) and "text" in given):
        # Pipelines wrap the answer to one text into a list, with one entry or one for each label.
        output, confidence = _one(result)
        return (Answer(_text(given), output, confidence),)
    given = _listed(given)
    if not isinstance(given, list | tuple):
        raise _unreadable("inputs", given)
    if _is_chat(given):
        output, confidence = _one(result)
        return (Answer(_text(given), output, confidence),)
    texts = [_text(item) for item in given]
    answers = _many(result)
    if len(answers) != len(texts):
        raise DataError(f"the model gave {len(answers)} answers to {len(texts)} texts")
    return tuple(Answer(text, *answer) for text, answer in zip(texts, answers, strict=True))


def _text(item: Any) -> str:
    if isinstance(item, Mapping):
        item = item.get("text")
    if isinstance(item, list | tuple) and _is_chat(item):
        item = item[-1]["content"]
    if not isinstance(item, str):
        raise _unreadable("an input", item)
    return item


def _many(result: Any) -> list[tuple[str, float | None]]:
    if hasattr(result, "outputs") and hasattr(result, "confidences"):
        return [(str(o), float(c)) for o, c in zip(result.outputs, result.confidences, strict=True)]
    listed = _listed(result)
    if not isinstance(listed, list | tuple):
        raise _unreadable("the answers", result)
    return [_one(item) for item in listed]


def _one(answer: Any) -> tuple[str, float | None]:
    """Return output and confidence of one answer, whatever it is wrapped in."""
    if hasattr(answer, "outputs") and hasattr(answer, "confidences"):
        return _only(_many(answer))
    answer = _listed(answer)
    if isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[0], str) and _is_number(answer[1]):
        return answer[0], float(answer[1])
    if isinstance(answer, Mapping):
        return _of_mapping(answer)
    if isinstance(answer, list | tuple):
        if answer and all(isinstance(item, Mapping) and "score" in item for item in answer):
            return _of_mapping(max(answer, key=lambda item: item["score"]))
        if len(answer) != 1:
            raise _unreadable("an answer", answer)
        return _one(answer[0])
    if isinstance(answer, str):
        return answer, None
    if isinstance(answer, int):  # class numbers, and booleans of yes-or-no models
        return str(answer), None
    raise _unreadable("an answer", answer)


def _only(answers: list[tuple[str, float | None]]) -> tuple[str, float | None]:
    if len(answers) != 1:
        raise DataError(f"the model gave {len(answers)} answers to one text")
    return answers[0]


def _of_mapping(answer: Mapping[str, Any]) -> tuple[str, float | None]:
    name = next((name for name in _OUTPUTS if name in answer), None)
    if name is None:
        raise _unreadable("an answer", answer)
    output, score = answer[name], answer.get("score")
    if isinstance(output, list) and _is_chat(output):
        output = output[-1]["content"]
    if not isinstance(output, str | int):
        raise _unreadable("an answer", answer)
    return str(output), float(score) if _is_number(score) else None


def _is_chat(items: Any) -> bool:
    return bool(items) and all(isinstance(item, Mapping) and "role" in item and "content" in item for item in items)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(value: Any) -> Any:
    """Return arrays and tensors as lists; everything else as it is."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, list | tuple) else value


def _unreadable(what: str, value: Any) -> DataError:
    return DataError(
        f"{what} of type {type(value).__name__} cannot be read",
        hint="watch a callable from text to label or from texts to labels; see docs/monitoring.md",
    )
