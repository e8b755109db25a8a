"""Figures and tables as static bundles that need no kernel, no trust and no network."""
