"""Files that run inside the sandbox."""
