"""From a trained head to one ONNX file, and what that file says of other pictures."""
