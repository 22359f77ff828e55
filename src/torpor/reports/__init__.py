"""Reports: what people and other programs read."""
