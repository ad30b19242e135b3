"""What can be compared: vectors, edits, adapters, checkpoints, precisions."""
