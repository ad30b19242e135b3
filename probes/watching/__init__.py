"""Watching: the predictor attached to inference, its policies and risk maps."""
