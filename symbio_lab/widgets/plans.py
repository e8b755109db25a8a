"""Plans of comparisons as JSON, for the process that runs them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from symbio_lab.comparison.plan import ComparisonPlan


def plan_from(fields: Mapping[str, Any]) -> ComparisonPlan:
    """Return a plan from JSON; lists become tuples."""
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in fields.items()}
    return ComparisonPlan(**plain)


def plan_fields(plan: ComparisonPlan) -> dict[str, Any]:
    """Return a plan as JSON."""
    return dataclasses.asdict(plan)
