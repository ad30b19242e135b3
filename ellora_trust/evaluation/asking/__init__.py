"""What is asked, and what each state of a model answers; kept item by item."""
