"""Detectors and trackers: targets that pass objects downstream."""
