"""The lab's names in a reader's words: arms, outcomes, verdicts, refusals."""

from __future__ import annotations

from symbio_lab.errors import TRUST_CODES

ARMS = {
    "noop": "do nothing: the base as it is",
    "random_k": "add up three random patches of the pool",
    "null_pool": "control: the best of random patches instead of a pool",
    "best_single": "adopt the best patch of the pool",
    "prototype_rows": "surgery: add head rows at class means",
    "head_retrain": "surgery: retrain the head",
    "lora": "surgery: train a LoRA patch on the failures",
    "lora_replay": "surgery: train a LoRA patch on failures and replay",
    "surgery_only": "operate: the best surgery method by its own withheld failures",
    "marketplace_first": "adopt if the gate accepts, else operate",
    "oracle_best": "reference: the pool's best patch, chosen by the judge",
    "surgery_donor_data": "reference: surgery given the best contributor's data",
}
"""Strategy -> what it does."""
REFERENCES = ("oracle_best", "surgery_donor_data")
"""Arms that read what no healer may."""
STATUSES = {
    "healed": "accepted by the gate and deployed",
    "rejected": "the gate rejected the candidate; the base stays",
    "undecided": "too few samples for the gate to decide; the base stays",
    "no_patch_found": "there was no candidate, or none did better than doing nothing; the base stays",
    "no_op": "nothing was tried",
    "budget_exceeded": "the budget ended first; the base stays",
    "timeout": "the wall limit ended the run; the base stays",
    "hindsight": "chosen by the judge; no gate was asked",
}
"""Outcome -> meaning."""
GATE_CODES = {
    "accepted": "accepted: both bounds clear their limits",
    "fix_rate_too_low": "rejected: it fixes too few failures",
    "too_many_flips": "rejected: it breaks too many right answers",
    "undecided": "undecided: the bounds do not clear both limits",
    "too_few_controls": "undecided: too few control samples",
}
"""Verdict -> meaning."""
PHASES = {
    "search": "search",
    "verify": "fetch and verify",
    "screen": "screen candidates",
    "null_refit": "refit random patches",
    "choose_surgery": "choose the surgery",
    "surgery": "operate",
    "gate": "gate",
    "deploy": "deploy",
    "contribute": "contribute back",
}
"""Phase of cost -> words, in running order."""


def arm(strategy: str) -> str:
    """Return what an arm does."""
    return ARMS.get(strategy, strategy.replace("_", " "))


def verdict(code: str) -> str:
    """Return what a code of the gate or of the trust rules means.

    >>> verdict("wrong_base")
    'the patch was made for another base model'
    """
    if code in TRUST_CODES:
        return TRUST_CODES[code].split(";")[0]
    return GATE_CODES.get(code, code.replace("_", " "))


def phase(name: str) -> str:
    """Return a phase in words."""
    return PHASES.get(name, name.replace("_", " "))
