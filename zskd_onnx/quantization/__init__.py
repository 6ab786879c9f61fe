"""Classifier files with 8-bit integers or half-precision numbers in place of float32 weights."""
