"""Doors to other frameworks: a winner taken elsewhere, and results from there read back."""
