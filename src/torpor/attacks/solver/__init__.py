"""Attacks on adaptive solvers of differential equations."""
