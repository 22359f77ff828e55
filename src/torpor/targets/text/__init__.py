"""Encoders that classify texts: those that exit early, and those that skim tokens."""
