"""Which heads and MLPs: direct attribution and patching between matched prompts."""
