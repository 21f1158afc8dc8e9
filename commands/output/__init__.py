"""What predict and evaluate print and write."""
