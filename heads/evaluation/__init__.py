"""Fits heads on splits, measures and compares them."""
