"""Import an ONNX file as a differentiable ``torch.fx`` module."""
