"""Which training documents: the index of their rows, text beside gradient, one ranking."""
