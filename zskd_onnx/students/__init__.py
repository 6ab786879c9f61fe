"""Students: architectures, the user's own modules, and pruned initialisation."""
