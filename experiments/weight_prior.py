"""How well do the weights order a pool? First-order gain of every patch on the failures, against what it is worth.

For each world and pool: the twelve honest contributors are ranked by the gain that ``weight_signals`` states for
sixteen failures, and by the words of their cards; both are compared with the gain in accuracy that was measured on the
pool's relevance probe, which neither ranking reads. Printed: Spearman's correlation, and the gain of the patch that is
ranked first beside the best one's.

Run: python experiments/weight_prior.py [--pool high] [--pool medium] [WORLD ...]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from symbio_lab.config import load_settings
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.weight_prior import weight_signals
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.records import SearchQuery
from symbio_lab.scenarios.population import NOW
from symbio_lab.scenarios.world import build_world

CLINC = [
    "auto_and_commute",
    "banking",
    "credit_cards",
    "home",
    "kitchen_and_dining",
    "meta",
    "travel",
    "utility",
    "work",
]
WORLDS = (
    *(f"clinc150/{domain}" for domain in CLINC),
    "banking77/new-intents",
    "sentence_polarity/checklist",
    "scan/add-jump",
    "scan/around-right",
)


def measure(name: str, relevance: str) -> list[str]:
    """Return one row of the table."""
    settings = load_settings().settings
    base = 20 if name.startswith("clinc150/") else None
    world = build_world(name, base_per_label=base, settings=settings)
    pool = world.pool(relevance)  # type: ignore[arg-type]
    task = world.incident(SuiteSizes(n_repair=32), 0).task
    worth = {row["ref"]: float(row["probe_net_gain_pp"]) for row in pool.info["contributors"]}
    with tempfile.TemporaryDirectory() as folder:
        client = MarketplaceClient([pool.transport], pool.policy, Path(folder), NOW, SentenceEmbedder())
        query = SearchQuery(world.model.task_type, task.description, base_digest=world.model.digest, max_results=100)
        hits = [hit for hit in client.search(query) if hit.ref in worth]
        words = {hit.ref: hit.score for hit in hits}
        patches = [patch for patch, _ in map(client.fetch, hits) if patch is not None]
        signals = {signal.ref: signal for signal in weight_signals(world.model, task.repair[:16], patches)}
    refs = sorted(signals)
    true = np.array([worth[ref] for ref in refs])
    cells = [name, relevance, str(len(refs)), f"{true.max():.2f}"]
    for values in (
        [signals[ref].gain for ref in refs],
        [signals[ref].delta_gain for ref in refs],
        [signals[ref].alignment for ref in refs],
        [words[ref] for ref in refs],
    ):
        correlation = spearmanr(values, true).statistic if len(set(values)) > 1 else float("nan")
        cells.append(f"{correlation:+.2f} ({true[int(np.argmax(values))]:.2f})")
    return cells


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--pool", action="append")
    asked = parser.parse_args()
    print("| world | pool | patches | best | gain | of the update | alignment | words of the card |")
    print("|---|---|---|---|---|---|---|---|")
    for relevance in asked.pool or ["high", "medium"]:
        for name in asked.worlds:
            print("| " + " | ".join(measure(name, relevance)) + " |", flush=True)


if __name__ == "__main__":
    main()
