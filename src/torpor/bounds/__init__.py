"""Bounds: what no input can exceed."""
