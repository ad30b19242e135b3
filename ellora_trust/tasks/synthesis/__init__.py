"""Write the body of a Python function; tests decide."""
