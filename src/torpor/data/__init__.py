"""Labeled data, read a batch at a time."""
