"""Networks on an accelerator that skips zeros."""
