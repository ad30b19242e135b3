"""One case end to end: what was said, how risky it is, where it comes from, and what might mend it."""
