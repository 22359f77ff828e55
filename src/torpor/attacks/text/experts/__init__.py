"""Attacks on expert routing: tokens that all go to the same experts."""
