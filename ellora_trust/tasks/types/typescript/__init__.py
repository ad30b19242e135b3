"""Annotations in TypeScript, through tree-sitter and, where it is installed, tsc."""
