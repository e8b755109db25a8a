"""Failing worlds that anyone can rebuild from a seed: a base, a failing slice, a population of contributors."""
