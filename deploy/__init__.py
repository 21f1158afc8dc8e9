"""From a trained head to one ONNX file, and prediction and evaluation with that file."""
