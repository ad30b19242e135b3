"""Evaluation: a model before and after, whatever changed between: what it fixed, what it broke, how sure."""
