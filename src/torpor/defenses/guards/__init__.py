"""Guards: limits on the work of one input."""
