"""Verdicts: gates, and comparison with a baseline."""
