"""Run an exported model on new pictures; needs only onnxruntime, NumPy and Pillow (evaluation also scikit-learn)."""
