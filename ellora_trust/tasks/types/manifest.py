"""Rebuild the manifest of the `types` task from the packages installed on this machine.

Use it after a dependency changed its version; the same packages give the same file, in minutes. A dependency's answers
are in its source; the standard library's come from typeshed, through `typeshed_client`.

    python -m ellora_trust.tasks.types.manifest            # writes manifest.json beside this module
    python -m ellora_trust.tasks.types.manifest other.json
    git diff --stat ellora_trust/tasks/types/manifest.json
"""

from __future__ import annotations

import platform
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from typeshed_client import get_search_context, get_stub_names

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.tasks.near_duplicates import merge_groups
from ellora_trust.tasks.types.annotations import FunctionNode, Slot, slots
from ellora_trust.tasks.types.questions import ask
from ellora_trust.tasks.types.rows import (
    MANIFEST,
    STDLIB,
    Found,
    Manifest,
    Release,
    distribution_root,
    read_source,
    write_manifest,
)
from ellora_trust.tasks.types.sources import chance, python_files, questions_in

# The project's dependencies, theirs, and its development tools, as far as they are annotated; which of them have a
# permissive licence is read from their metadata.
DISTRIBUTIONS = tuple(
    """
    accelerate anyio attrs beartype build captum charset-normalizer click datasets einops filelock fonttools fsspec
    gguf h11 httpcore httpx huggingface-hub idna iniconfig jaxtyping jinja2 jsonschema jupyter-client jupyter-core
    libcst markdown-it-py markupsafe matplotlib narwhals nbclient nnsight numpy packaging pandas pillow
    platformdirs plotly pluggy pyarrow pydantic pyparsing pyproject-hooks pytest pytest-xdist pyzmq
    referencing requests rich safetensors scikit-learn scipy setuptools sympy torch tornado traitlets
    transformer-lens transformers typeguard typer typeshed-client urllib3
    """.split()
)
PERMISSIVE = frozenset(
    "MIT MIT-CMU BSD BSD-2-Clause BSD-3-Clause 0BSD Apache-2.0 LLVM-exception BSL-1.0 PSF-2.0 ISC Zlib CC0-1.0".split()
)
# What metadata of before PEP 639 says instead of the SPDX name.
_FORMER_NAMES = {
    "MIT License": "MIT",
    "BSD License": "BSD",
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
N_ROWS = 2000
MAX_PER_FILE = 8
MAX_TYPE_SHARE = 0.18
MAX_NONE_SHARE = 0.07  # the commonest annotation, and the easiest: the body shows it
MAX_DISTRIBUTION_SHARE = 0.05
MAX_STDLIB_SHARE = 0.2
MIN_DISTRIBUTIONS = 8  # that use a type: one package's own classes are guesswork
MAX_PROMPT = 480  # characters, about 145 tokens
_NOT_ASKED = re.compile(
    r"(^|/)(tests?|testing|_?vendor(ed)?|externals?|idlelib|lib2to3|turtledemo|ensurepip)/|(^|/)test_"
)


def build() -> Manifest:
    """Return a manifest of this machine's packages.

    Raises:
        EnvironmentProblem: A distribution is not installed.
    """
    releases = {name: _release(name) for name in DISTRIBUTIONS}
    allowed = [name for name, release in releases.items() if _is_permissive(release.licence)]
    every = [item for name in allowed for item in _dependency_questions(name)] + list(_stdlib_questions())
    chosen, texts = _selected(every)
    groups = merge_groups([item.row.group for item in chosen], texts)
    rows = [replace(item.row, group=group) for item, group in zip(chosen, groups, strict=True)]
    rows.sort(key=lambda row: (row.distribution, row.path, row.line, row.name))
    releases[STDLIB] = Release(platform.python_version(), "PSF-2.0")
    used = {row.distribution: releases[row.distribution] for row in rows}
    return Manifest(used, rows, f"typeshed_client {version('typeshed_client')}")


def main(arguments: list[str]) -> None:
    """Write the manifest to the path given, or over the committed one."""
    path = Path(arguments[0]) if arguments else MANIFEST
    manifest = build()
    write_manifest(manifest, path)
    n_groups = len({row.group for row in manifest.rows})
    print(f"{path}: {len(manifest.rows):,} rows, {n_groups:,} groups, {len(manifest.releases)} distributions")


def _release(name: str) -> Release:
    try:
        metadata = distribution(name).metadata
    except PackageNotFoundError:
        raise EnvironmentProblem(
            f"{name} is not installed, and the manifest is rebuilt from all of DISTRIBUTIONS; run "
            "pip install -e '.[dev]'"
        ) from None
    fields = metadata.json  # a list for what may occur more than once, else a string
    classifiers = [line.rpartition(":: ")[2] for line in fields.get("classifier", []) if line.startswith("License ::")]
    licence = str(fields.get("license_expression") or " AND ".join(classifiers) or fields.get("license", ""))
    return Release(str(fields["version"]), _FORMER_NAMES.get(licence, licence))


def _is_permissive(licence: str) -> bool:
    return PERMISSIVE.issuperset(re.split(r" AND | OR | WITH ", re.sub(r"[()]", "", licence)))


def _dependency_questions(name: str) -> Iterator[Found]:
    root = distribution_root(name)
    assert root is not None  # _release() found it
    paths = [file.as_posix() for file in distribution(name).files or () if file.suffix == ".py"]
    yield from _questions(root, name, sorted(path for path in paths if not path.startswith("..")))


def _stdlib_questions() -> Iterator[Found]:
    root = distribution_root(STDLIB)
    assert root is not None
    paths = [path.relative_to(root).as_posix() for path in python_files(root)]
    yield from _questions(root, STDLIB, paths)


def _questions(root: Path, name: str, paths: Iterable[str]) -> Iterator[Found]:
    for path in paths:
        text = None if _NOT_ASKED.search(path) else read_source(root / path)
        labels = _typeshed_labels(path) if name == STDLIB else None
        if text is None or (name == STDLIB and not labels):
            continue
        try:
            yield from questions_in(text, name, path, labels)
        except (SyntaxError, ValueError):  # templates and files for other Python versions
            continue


def _typeshed_labels(path: str) -> dict[str, list[Slot]]:
    """Return typeshed's annotations of a standard library file by qualified name; overloaded names are left out."""
    module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    context = get_search_context(search_path=[], version=sys.version_info[:2], platform="linux")
    labels: dict[str, list[Slot]] = {}
    for name, info in (get_stub_names(module, search_context=context) or {}).items():
        members = {f"{name}.{inner}": member for inner, member in (info.child_nodes or {}).items()}
        for qualname, item in [(name, info), *members.items()]:
            if isinstance(item.ast, FunctionNode):
                labels[qualname] = slots(item.ast)
    return labels


def _selected(every: list[Found]) -> tuple[list[Found], list[str]]:
    """Choose rows under the caps, in an order that is as good as random; return them and the code they show."""
    users: dict[str, set[str]] = defaultdict(set)
    for item in every:
        users[item.row.type].add(item.row.distribution)
    counts: Counter[tuple[str, str]] = Counter()
    chosen: dict[str, Found] = {}
    for item in sorted(every, key=chance):
        row = item.row
        keys = [("type", row.type), ("distribution", row.distribution), ("file", f"{row.distribution}/{row.path}")]
        keys.append(("function", f"{row.distribution}/{row.path}:{row.qualname}"))
        if len(users[row.type]) < MIN_DISTRIBUTIONS or any(counts[key] >= _limit(*key) for key in keys):
            continue
        question = ask(item.source, row.qualname, row.slot)
        text = "" if question is None else question.prefix + question.suffix
        if question is None or question.truncated or len(question.prompt) > MAX_PROMPT or text in chosen:
            continue
        chosen[text] = item
        counts.update(keys)
        if len(chosen) == N_ROWS:
            break
    return list(chosen.values()), list(chosen)


def _limit(what: str, name: str) -> float:
    shares = {"None": MAX_NONE_SHARE, STDLIB: MAX_STDLIB_SHARE}
    default = {"type": MAX_TYPE_SHARE, "distribution": MAX_DISTRIBUTION_SHARE}
    if what in default:
        return N_ROWS * shares.get(name, default[what])
    return {"file": MAX_PER_FILE, "function": 1}[what]


if __name__ == "__main__":
    main(sys.argv[1:])
