"""What an edit did: answers, losses and controls, in numbers, words and pictures."""
