"""Students that start from the teacher's channels."""
