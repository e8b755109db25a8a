"""The detectors on outcomes by name, the default first."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from symbio_lab.errors import ConfigError
from symbio_lab.monitor.detectors.adwin import Adwin
from symbio_lab.monitor.detectors.ddm import Ddm
from symbio_lab.monitor.detectors.e_detector import EDetector
from symbio_lab.monitor.detectors.page_hinkley import PageHinkley
from symbio_lab.monitor.detectors.protocol import Detector
from symbio_lab.monitor.detectors.rise_evidence import RiseEvidence

DETECTORS: Mapping[str, Callable[..., Detector]] = MappingProxyType(
    {kind.name: kind for kind in (EDetector, Adwin, PageHinkley, Ddm)}
)
"""Name -> class; called without arguments it gives the documented defaults."""
DEFAULT_DETECTOR = EDetector.name


def make_detector(name: str = DEFAULT_DETECTOR, **settings: Any) -> Detector:
    """Return a fresh detector.

    Args:
        name: one of ``DETECTORS``.
        settings: keyword arguments of its class.

    Raises:
        ConfigError: there is no such detector or setting, or a setting is out of range.

    >>> make_detector("e_detector", false_alarms_per_10k=0.5).threshold
    20000.0
    """
    if name not in DETECTORS:
        raise ConfigError([f"unknown detector {name!r}"], hint=f"use one of: {', '.join(DETECTORS)}")
    known = _settings_of(DETECTORS[name])
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(
            [f"the detector {name!r} has no setting {setting!r}" for setting in unknown],
            hint=f"it has: {', '.join(known)}",
        )
    return DETECTORS[name](**settings)


def _settings_of(factory: Callable[..., Detector]) -> tuple[str, ...]:
    parameters = inspect.signature(factory).parameters.values()
    named = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    # What the e-detector passes on is part of what it can be told.
    passed_on = inspect.signature(RiseEvidence).parameters if len(named) < len(parameters) else ()
    return tuple(dict.fromkeys([*named, *passed_on]))
