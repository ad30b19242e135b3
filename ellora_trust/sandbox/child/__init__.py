"""Scripts that run inside the sandbox, by an interpreter that sees nothing else of this library."""
