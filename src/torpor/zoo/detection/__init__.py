"""Detectors that torpor builds and trains itself."""
