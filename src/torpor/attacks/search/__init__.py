"""Searches: losses, steps, balls and what they keep; of any attack."""
