"""What shall be forgotten and what shall stay, from wherever it is known."""
