"""Which task is performed: prompts that tell one, the heads that carry it, its vector."""
