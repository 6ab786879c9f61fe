"""Images and plots for the output folder."""
