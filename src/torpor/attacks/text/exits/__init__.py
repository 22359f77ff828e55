"""Attacks on encoders of texts that exit early or skim."""
