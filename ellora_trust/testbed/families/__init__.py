"""All families by name."""

from ellora_trust.testbed.families.c import C
from ellora_trust.testbed.families.planted import PLANTED
from ellora_trust.testbed.families.python import PYTHON

__all__ = ["FAMILIES"]

FAMILIES = {family.name: family for family in (*PLANTED, *PYTHON, *C)}
