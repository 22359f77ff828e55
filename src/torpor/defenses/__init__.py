"""Defenses: wrappers that are targets themselves, and recipes that give hardened ones."""
