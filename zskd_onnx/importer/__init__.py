"""From an ONNX file to a differentiable torch.fx module. Nothing here knows of teachers or students."""
