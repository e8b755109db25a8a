"""Detectors: has the error rate risen, has confidence lost its meaning, do the inputs look different?

Three families, one protocol each:

- on outcomes, one event at a time (``protocol.Detector``): ``e_detector`` (the default), ``adwin``, ``page_hinkley``,
  ``ddm``; by name in ``catalogue``;
- on (confidence, outcome) pairs: ``calibration``;
- on two samples of embeddings (``shift_test.ShiftTest``): ``domain_classifier``, ``mmd``.

Many streams at once, with false-discovery control, are one file up: ``monitor/streams.py``.
"""
