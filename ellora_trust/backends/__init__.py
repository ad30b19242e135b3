"""Other views of a loaded model: the same weights and sites under another library's names."""
