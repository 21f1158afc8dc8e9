"""ONNX graphs: of heads, of resizing, and both joined with the backbone into one file."""
