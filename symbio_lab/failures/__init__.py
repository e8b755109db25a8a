"""Failure datasets: the catalogue, loading, the generated ones, groups and splits.

Example:
    >>> from symbio_lab.failures import load_dataset, split_groups
    >>> data = load_dataset("helpdesk")
    >>> parts = split_groups(data.samples["test"], {"repair": 0.5, "holdout": 0.5}, seed=0)
    >>> sorted(parts)
    ['holdout', 'repair']
"""

from __future__ import annotations

from symbio_lab.failures.catalogue import DatasetCard, catalogue, get_card
from symbio_lab.failures.dataset import FailureDataset
from symbio_lab.failures.grouping import near_duplicate_groups, near_neighbours, with_groups
from symbio_lab.failures.helpdesk import generate_helpdesk
from symbio_lab.failures.loading import load_dataset, load_rows, load_table
from symbio_lab.failures.locating import data_root
from symbio_lab.failures.scan import scan_pairs, scan_splits
from symbio_lab.failures.shifts import SHIFTS, apply_shift
from symbio_lab.failures.splitting import check_disjoint, split_groups

__all__ = [
    "SHIFTS",
    "DatasetCard",
    "FailureDataset",
    "apply_shift",
    "catalogue",
    "check_disjoint",
    "data_root",
    "generate_helpdesk",
    "get_card",
    "load_dataset",
    "load_rows",
    "load_table",
    "near_duplicate_groups",
    "near_neighbours",
    "scan_pairs",
    "scan_splits",
    "split_groups",
    "with_groups",
]
