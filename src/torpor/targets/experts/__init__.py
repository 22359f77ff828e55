"""Expert routing: each token goes to a few experts, which lie on several devices; the busiest one sets the pace."""
