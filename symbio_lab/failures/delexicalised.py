"""Service dialogue with slot values replaced by slot names, so that a small generator can be judged on it.

A system turn of the Schema-Guided Dialogue set becomes a prompt (service, dialogue acts, the user's last turn) and a
reply in which every value is written as ``[slot]``. A reply is right when it mentions each slot of its acts as often as
the reference does; that is slot error 0.

References:
    Delexicalisation: Wen et al. 2015, Semantically Conditioned LSTM-based Natural Language Generation, EMNLP,
    section 3. Task: Kale and Rastogi 2020, Template Guided Text Generation for Task-Oriented Dialogue, EMNLP.
    Differs from both: turns without a value, or whose reference does not mention every value, are left out; text is
    lower-case.

Example:
    >>> row = {"service": "Trains_1", "actions": [["INFORM", "to", ["Rome"]]], "user": "Where to?",
    ...        "utterance": "It goes to Rome."}
    >>> delexicalise(row)
    ('trains_1 | inform [to] | where to?', 'it goes to [to].')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_USER_WORDS = 24
"""Words kept of the user's turn."""


def delexicalise(row: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return (prompt, reply) of one system turn, or None where slots or values repeat, or the reply lacks a value.

    Args:
        row: ``service``, ``actions`` ([act, slot, values] triples), ``user`` and ``utterance``.
    """
    acts = [
        (str(act).lower(), str(slot).lower(), [str(v).lower() for v in values]) for act, slot, values in row["actions"]
    ]
    values = {value: slot for _, slot, found in acts for value in found}
    num_values = sum(len(found) for _, _, found in acts)
    if not values or min(len(values), len({slot for _, slot, found in acts if found})) < num_values:
        return None
    reply, user = (_one_space(str(row[name]).lower()) for name in ("utterance", "user"))
    # Longest first: "10" must not be found inside "10:30".
    for value in sorted(values, key=lambda v: (-len(v), v)):
        pattern = re.compile(rf"(?<![\w\[]){re.escape(value)}(?![\w\]])")
        reply, count = pattern.subn(f"[{values[value]}]", reply, count=1)
        if count == 0:
            return None
        user = pattern.sub(f"[{values[value]}]", user)
    said = "; ".join(f"{act} [{slot}]" if found else f"{act} {slot}".strip() for act, slot, found in acts)
    words = user.split()
    return f"{str(row['service']).lower()} | {said} | {' '.join(words[:MAX_USER_WORDS])}", reply


def _one_space(text: str) -> str:
    return " ".join(text.split())
