"""`python -m ellora_trust` is `ellora-trust`."""

from ellora_trust.cli import main

main()
