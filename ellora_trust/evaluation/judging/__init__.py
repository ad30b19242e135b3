"""From answers before and after to numbers: paired tests, effects, calibration, noise, cost."""
