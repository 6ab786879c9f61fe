"""Images drawn at random by a procedure; no teacher and no data are needed."""
