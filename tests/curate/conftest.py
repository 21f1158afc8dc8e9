"""Fixtures of the tests that open the App."""

from support.review_app import chromium, scored_workspace

__all__ = ["chromium", "scored_workspace"]
