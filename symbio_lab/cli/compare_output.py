"""What ``symbio compare`` prints of a summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from symbio_lab.cli.printing import interval_text, number_text


def print_comparison(summary: Mapping[str, Any]) -> None:
    """Print what can and cannot be said from the figures."""
    if summary.get("exploratory"):
        print(f"exploratory: {summary['exploratory_reason']}")


def summary_table(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return columns and rows of the table over seeds: one row a strategy, mean and range of what was deployed."""
    columns = ["strategy", "n", "status", "deployed", "fix rate", "net gain pp", "flips", "forwards"]
    rows = []
    for name, figures in summary["strategies"].items():

        def over_seeds(figure: str, digits: int, figures: Mapping[str, Any] = figures) -> str:
            low, high = figures[f"{figure}_min"], figures[f"{figure}_max"]
            return interval_text(figures[figure], low, high, digits=digits)

        rows.append(
            [
                name,
                str(figures["num_seeds"]),
                ",".join(sorted(set(figures["statuses"]))),
                f"{figures['deploy_rate']:.0%}",
                over_seeds("deployed_fix_rate", 3),
                over_seeds("deployed_net_gain_pp", 2),
                over_seeds("deployed_negative_flip_rate", 4),
                number_text(figures["cost_forwards_equivalent"]),
            ]
        )
    return columns, rows
