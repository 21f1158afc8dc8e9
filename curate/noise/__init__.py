"""Finds noise: off-topic and mislabelled pictures, duplicates, poor quality."""
