"""What `export`, `predict` and `evaluate` print and write."""
