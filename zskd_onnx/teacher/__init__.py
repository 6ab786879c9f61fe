"""The teacher: an ONNX classifier as a differentiable torch module; ``load.load_teacher`` is the way in."""
