"""Composition of patches: one method per file."""
