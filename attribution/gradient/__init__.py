"""What a text changes in the weights: gradients, whitened, projected and sketched to a short row."""
