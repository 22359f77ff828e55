"""Networks that compute in 8 bits, and columns with outliers in full precision beside it."""
