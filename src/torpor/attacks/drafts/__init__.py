"""Attacks on speculative decoding: inputs whose guesses are rejected."""
