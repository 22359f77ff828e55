"""Costs as assertions: ``assert_cost``, and a plug-in of pytest."""
