"""Draws labelled pictures with known noise, for the demo and for tests."""
