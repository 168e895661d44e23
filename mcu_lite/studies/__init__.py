"""Conditions in, one table out, every expensive step stored."""
