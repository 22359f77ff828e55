"""Detectors of attacks."""
