"""Decoders: targets that take one step at a time."""
