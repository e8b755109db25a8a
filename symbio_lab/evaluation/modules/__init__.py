"""The lab's metrics as modules of the library ``evaluate``: combined with others, and pushed to the Hub.

Example:
    >>> metric = load_metric("fix_rate")
    >>> found = metric.compute(predictions=["b", "b"], references=["b", "c"], before=["a", "a"])
    >>> found["fix_rate"], found["fix_rate_n"]
    (0.5, 2)
"""

from symbio_lab.evaluation.modules.catalogue import METRIC_NAMES, load_metric
from symbio_lab.evaluation.modules.publishing import export_metric

__all__ = ["METRIC_NAMES", "export_metric", "load_metric"]
