"""Attacks on detectors and trackers."""
