"""Hardened networks and recalibrated gates."""
