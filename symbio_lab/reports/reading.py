"""How to read the report: definitions, with this comparison's own figures in them, and a short glossary."""

from __future__ import annotations

from symbio_lab.deployment.gate import gate_policy
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import percent
from symbio_lab.display.prose import code, fold, prose, strong
from symbio_lab.display.table import Column, table
from symbio_lab.evaluation.metrics.net_gain import SLICE_SHARE
from symbio_lab.reports.collecting import Results

GLOSSARY = (
    ("arm", "one way of healing that takes part in the comparison"),
    ("incident", "one draw of failures from the failing slice; its seed names it"),
    ("slice", "the kind of input on which the model fails"),
    ("patch", "a small addition to the model (LoRA weights, rows of the head); the base's weights never change"),
    ("pool", "the patches that others published; its relevance says how much of the slice they know"),
    ("repair failures", "labelled failures that may be trained and screened on"),
    ("control", "labelled traffic outside the slice: what must not break"),
    ("held-out", "read by the judge only: by no search, training, screening or gate"),
    ("null pool", "a control: the pool's patches with their knowledge replaced by random numbers"),
    ("forwards-equivalent", "work counted in samples through the unpatched base; the same on every machine"),
)


def figure_note(results: Results) -> Bundle:
    """Return how to read the figure at the top."""
    many = len(results.seeds) > 1
    each = "Each arm has one mark an incident, seeds from top to bottom. " if many else ""
    return prose(
        f"{each}Marks are held-out figures, lines their 95 % intervals. Filled: deployed. Hollow: a candidate that the "
        "gate did not accept, so the base stays. Right of zero is better.",
        tone="note",
    )


def definitions(results: Results) -> Bundle:
    """Return the definitions of the figures, folded."""
    policy = gate_policy(str(results.plan["gate"]))
    share = percent(SLICE_SHARE)
    return fold(
        "Definitions: fix rate, net gain, broken answers, gate",
        [
            prose(
                f"{strong('Fix rate (failures fixed)')}: of the held-out inputs of the slice that the base answers "
                "wrongly, the share that the patched model answers rightly. 95 % Clopper-Pearson interval.",
                f"{strong('Negative flips (right answers broken)')}: of the held-out control inputs that the base "
                "answers rightly, the share that the patched model answers wrongly. 95 % Clopper-Pearson interval.",
                f"{strong('Net gain')}, the primary metric: change of accuracy over traffic in which the slice has a "
                f"share of {share}, in percentage points: 100 × ({SLICE_SHARE:g} × change on the slice + "
                f"{1 - SLICE_SHARE:g} × change on control). A patch that fixes everything and breaks nothing gains "
                f"about {100 * SLICE_SHARE:g} points where the base is always wrong on the slice. Interval by MOVER "
                "over Newcombe's paired intervals.",
                f"{strong('Gate')} ({code(policy.name)}): a candidate is accepted when the exact one-sided lower bound "
                f"of its fix rate reaches {percent(policy.min_fix_rate)} and the upper bound of its negative flips "
                f"stays within {percent(policy.max_negative_flip_rate)}, on samples that nothing before it read. "
                "Clearly worse is rejected; anything between is undecided and the base stays.",
                f"{strong('Screen score')}: estimated net gain on the repair failures and a guard of replay samples. "
                "The best of many is optimistic, so nothing is deployed on it.",
            )
        ],
    )


def glossary() -> Bundle:
    """Return the words of this report, folded."""
    return fold("Glossary", [table([Column("word"), Column("meaning")], GLOSSARY)])
