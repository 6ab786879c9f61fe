"""Reading and checking an ONNX file before anything is built from it."""
