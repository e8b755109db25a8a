"""Surgery strategies: one for each method, and ``surgery_only``, the best of them by its own selection data."""

from __future__ import annotations

from symbio_lab.healing.context import HealingContext, Proposal, ask_gate
from symbio_lab.healing.operating import operate_best, operate_one
from symbio_lab.records import Attempt, Patch
from symbio_lab.surgery.catalogue import surgery_method


def gate_surgery(context: HealingContext, patch: Patch | None, attempts: list[Attempt], *, looks: int) -> Proposal:
    """Gate what surgery produced, if anything."""
    if patch is None:
        return Proposal(None, "none", None, tuple(attempts))
    verdict, attempt = ask_gate(context, patch, "surgery", looks=looks)
    return Proposal(patch, "surgery", verdict, (*attempts, attempt))


class SingleSurgery:
    """One surgery method, gated once; the strategy carries the method's name."""

    family = "surgery"
    looks = 1
    reads_market = False

    def __init__(self, name: str) -> None:
        """Remember the method's name."""
        self.name = name
        self.reference = surgery_method(name).reference

    def heal(self, context: HealingContext) -> Proposal:
        """Return the method's patch, gated once."""
        method = surgery_method(self.name, context.lora)
        if context.task.task_type not in method.task_types or context.task.label_shift not in method.label_shifts:
            detail = f"serves {', '.join(method.task_types)} with labels {', '.join(method.label_shifts)}"
            skipped = Attempt("surgery", self.name, "skipped", "not_applicable", detail)
            return Proposal(None, "none", None, (skipped,))
        patch, attempt = operate_one(context, method)
        return gate_surgery(context, patch, [attempt], looks=self.looks)


class SurgeryOnly:
    """The best surgery method by withheld repair samples, gated once."""

    name = "surgery_only"
    family = "surgery"
    looks = 1
    reads_market = False
    reference = "DESIGN section 5: a claim for the marketplace is a claim against the best surgery arm"

    def heal(self, context: HealingContext) -> Proposal:
        """Return the chosen method's patch, gated once."""
        patch, attempts = operate_best(context)
        return gate_surgery(context, patch, attempts, looks=self.looks)
