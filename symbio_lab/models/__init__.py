"""Loading, predicting with, and patching models; base weights are never mutated."""
