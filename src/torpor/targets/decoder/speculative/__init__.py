"""Speculative decoding: a large model checks what a cheaper drafter guesses, several tokens in one pass."""
