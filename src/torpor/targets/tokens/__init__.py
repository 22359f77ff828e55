"""Vision transformers that compute less for some tokens, heads or layers."""
