"""A scanner for tampered models: cost on natural inputs, triggers that raise it, and the weights of the end token."""
