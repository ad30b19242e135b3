"""The script that makes a jail without bubblewrap; it runs outside, by itself, and imports nothing of this library."""
