"""Thinner versions of any ONNX graph: which channels belong together, their removal, and its proof."""
