"""What a teacher's file says of its input, its output and its final layer."""
