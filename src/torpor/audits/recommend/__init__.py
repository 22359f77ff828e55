"""Recommending caps: which guard, set how, keeps cost within a limit and hurts honest users least."""
