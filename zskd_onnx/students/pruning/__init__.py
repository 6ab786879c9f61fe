"""Pruned initialisation: students that start with the teacher's channels."""
