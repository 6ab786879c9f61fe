"""Student networks: built-in architectures, the user's own modules, and pruned initialisation."""
