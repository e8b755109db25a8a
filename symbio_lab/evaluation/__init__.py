"""Evaluation: suites, what healers may see, what only the judge sees, outcomes and metrics."""
