"""Which words of the prompt: its units, what is explained, and whether the ranking is right."""
