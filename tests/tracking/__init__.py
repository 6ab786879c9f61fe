"""Tests of experiment trackers, where these are installed."""
