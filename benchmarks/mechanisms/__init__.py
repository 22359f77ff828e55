"""What papers report of attacks on dynamic computation, measured here: ``python -m benchmarks.mechanisms``."""
