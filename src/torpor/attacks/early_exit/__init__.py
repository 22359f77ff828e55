"""Attacks on networks with gates."""
