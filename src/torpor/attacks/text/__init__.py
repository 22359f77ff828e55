"""Attacks on decoders by texts."""
