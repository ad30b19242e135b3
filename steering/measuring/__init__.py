"""What a steering vector achieves: chosen on validation groups, judged on held-out ones, beside its controls."""
