"""Read and check an ONNX file before anything is built from it."""
