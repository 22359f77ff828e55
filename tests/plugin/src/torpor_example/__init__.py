"""A plug-in for torpor: one file for each thing that it adds, and no line of torpor's changed."""
