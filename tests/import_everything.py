"""Import every module of the installed packages; run from a directory that is not the checkout."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

PACKAGES = ("ellora_trust", "probes", "attribution", "steering", "unlearning")
# What an extra brings; without it its modules cannot be imported, and are not needed.
EXTRAS = ("lm_eval",)


def main() -> int:
    imported = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        if Path(__file__).resolve().parent.parent in Path(root.__file__ or "").resolve().parents[1:2]:
            sys.exit(f"{package} came from the checkout, not from the wheel")
        for module in pkgutil.walk_packages(root.__path__, f"{package}."):
            if not module.name.endswith("__main__"):
                try:
                    importlib.import_module(module.name)
                except ModuleNotFoundError as error:
                    if error.name not in EXTRAS:
                        raise
                    print(f"{module.name} needs {error.name}, left out")
                else:
                    imported.append(module.name)
    print(f"{len(imported)} modules imported from {Path(root.__file__ or '').parent.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
