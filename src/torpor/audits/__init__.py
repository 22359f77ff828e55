"""Audits: targets x attacks x budgets, recorded per sample."""
