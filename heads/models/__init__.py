"""The classification heads: estimators with scikit-learn's interface."""
