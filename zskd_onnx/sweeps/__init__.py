"""Grids of runs, summarised in one table."""
