"""Sweeps: one YAML, many notebook runs, each finished once."""
