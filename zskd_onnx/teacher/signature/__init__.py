"""A teacher's signature: its input domain, its output and its final layer, read from the file."""
