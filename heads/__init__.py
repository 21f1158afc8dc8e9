"""Arrays and labels to trained, compared and exported classification heads."""
