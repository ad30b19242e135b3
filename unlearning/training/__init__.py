"""How the weights are changed: rows and masks, steps, references, budget, cost."""
