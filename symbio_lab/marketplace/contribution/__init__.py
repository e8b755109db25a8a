"""A healed model's patch becomes one that others may use: licence, facts, private data, evaluation, publication."""

from symbio_lab.marketplace.contribution.contributing import Contribution, contribute
from symbio_lab.marketplace.contribution.house_rules import HouseRules, load_house_rules
from symbio_lab.marketplace.contribution.incident import Incident, Measured, split_digest

__all__ = [
    "Contribution",
    "contribute",
    "HouseRules",
    "Incident",
    "load_house_rules",
    "Measured",
    "split_digest",
]
