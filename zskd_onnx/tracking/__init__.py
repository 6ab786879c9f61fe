"""Experiment trackers as listeners of a run."""
