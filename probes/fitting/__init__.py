"""Fitting: linear predictors of every layer and position, chosen inside the training groups."""
