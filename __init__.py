"""Winnow: a folder of noisy photographs becomes a classifier that can be trusted, on a laptop without a GPU."""
