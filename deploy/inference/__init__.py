"""Runs an exported model on new pictures: onnxruntime, NumPy and Pillow are enough."""
