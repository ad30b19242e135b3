"""A comparison in words, tables and pictures."""
