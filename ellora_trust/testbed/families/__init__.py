"""All families by name; their order is part of what a seed means."""

from ellora_trust.testbed.families.buffers import BUFFERS
from ellora_trust.testbed.families.c import C
from ellora_trust.testbed.families.copies import COPIES
from ellora_trust.testbed.families.maps import MAPS
from ellora_trust.testbed.families.python import PYTHON
from ellora_trust.testbed.families.slices import SLICES
from ellora_trust.testbed.families.sql import SQL

__all__ = ["FAMILIES"]

FAMILIES = {family.name: family for family in (*BUFFERS, *SLICES, *MAPS, *COPIES, *SQL, *PYTHON, *C)}
