"""Export of a trained student to an ONNX file that is checked against the student and the teacher."""
