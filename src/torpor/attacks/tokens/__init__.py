"""Attacks on transformers that skip tokens, heads or layers."""
