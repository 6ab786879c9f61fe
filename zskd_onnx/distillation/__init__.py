"""From samples to a trained student."""
