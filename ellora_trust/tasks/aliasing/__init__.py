"""What does this Python program print? Alias against copy."""
