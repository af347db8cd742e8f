"""Comparison of the two engines and of finished runs."""
