"""Reports that continuous integration reads."""
