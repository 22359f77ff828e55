"""Attacks on work that follows the activity of neurons: sparsity and spikes."""
