"""Conditions in, one table out, every step kept."""
