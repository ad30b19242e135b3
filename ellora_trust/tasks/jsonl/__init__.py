"""Your own questions, from a file."""
