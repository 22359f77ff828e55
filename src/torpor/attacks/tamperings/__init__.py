"""Tamperings, one file per paper: poisoned training, backdoors, and edited weights."""
