"""Prices chosen after the fact."""
