"""Does anything beat ``standard``? One table of all families: ``python -m benchmarks.strength``."""
