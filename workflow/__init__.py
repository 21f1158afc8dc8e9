"""Joins the packages below it: from a folder to vectors, scores, runs and reports."""
