"""Classification heads on feature vectors: models, fits on splits, comparison and hyperparameter search."""
