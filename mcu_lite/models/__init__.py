"""A model is a row."""
