"""The optional packages of the endpoint.

require_extra()
"""

from __future__ import annotations

from importlib.util import find_spec

from ellora_trust.errors import EnvironmentProblem

PACKAGES = ("fastapi", "uvicorn")


def require_extra() -> None:
    """Refuse to go on without the packages of the `serve` extra.

    Raises:
        EnvironmentProblem: One is missing.
    """
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise EnvironmentProblem(
            f"serve needs {' and '.join(missing)}, not installed here; pip install 'ellora-trust[serve]'"
        )
