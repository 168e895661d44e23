"""Unlearning losses, curriculum, second order."""
