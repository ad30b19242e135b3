"""The task `testbed`."""
