"""Attacks on routers between models: suffixes that have the expensive one asked."""
