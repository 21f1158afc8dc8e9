"""Fits heads on splits, scores and compares them, and searches their parameters."""
