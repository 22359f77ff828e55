"""Detectors and trackers: targets that hand objects on."""
