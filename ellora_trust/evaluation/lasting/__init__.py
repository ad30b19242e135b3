"""Does it last? Attacks that try to bring a fault back."""
