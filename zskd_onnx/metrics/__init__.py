"""Metrics of one classifier, and of a student beside its teacher."""
