"""Measuring: how well errors are predicted, beside baselines and controls, with intervals."""
