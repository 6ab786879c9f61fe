"""The recipe of a run that names none; by itself, so that the command line's help need not load the others."""

DEFAULT_RECIPE = "best"
