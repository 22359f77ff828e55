"""Attacks on decoders by images and sounds."""
