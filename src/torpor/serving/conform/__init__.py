"""Do configured limits of an endpoint hold? A small, bounded suite that measures instead of believing."""

from torpor.serving.conform.finding import Finding, Standing
from torpor.serving.conform.suite import CHECKS, conform

__all__ = ["CHECKS", "Finding", "Standing", "conform"]
