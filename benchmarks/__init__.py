"""Benchmarks of torpor, printed as ratios: ``python benchmarks/run.py``; see ``docs/benchmarks.md``."""
