"""From a trained student to a verified ONNX file."""
