"""Trackers that torpor builds out of what it trains itself."""
