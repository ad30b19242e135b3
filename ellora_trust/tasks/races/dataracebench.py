"""The micro-benchmarks of DataRaceBench as questions: programs that others wrote, answers by their file names.

    found = read_benchmark(Path("dataracebench"))
    found.examples[0].meta["path"]      # 'DRB001-antidep1-orig-yes.c'
    found.lost                          # Counter({'too long': 9, ...})

Source: Liao et al. 2017, "DataRaceBench: a benchmark suite for systematic evaluation of data race detection tools",
SC17; https://github.com/LLNL/dataracebench, BSD-3-Clause. Nothing of it is shipped; examples are references to files.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ellora_trust.errors import InputError
from ellora_trust.tasks.base import Example
from ellora_trust.tasks.near_duplicates import THRESHOLD, merge_groups
from ellora_trust.tasks.races.prompt import prompt_of

MAX_CHARACTERS = 4_000  # of code without comments; about 1,500 tokens, which leaves room in a context of 2,048

_NAME = re.compile(r"(?:DRB\d+[a-z]?-)?(?P<problem>.+)-(?P<answer>yes|no)\.c")
_COMMENT = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')|//[^\n]*|/\*.*?\*/""", re.DOTALL)
_TELLTALE = re.compile(r"(?<![a-z])race", re.IGNORECASE)


@dataclass(frozen=True)
class Benchmark:
    """What a folder gave.

    Attributes:
        folder: Where it was read.
        examples: In the order of file names.
        lost: Files that gave no question, by reason.
    """

    folder: Path
    examples: list[Example]
    lost: Mapping[str, int]

    def shuffled(self, seed: int) -> list[Example]:
        """Return all examples, whole groups in an order that the seed gives."""
        groups: dict[str, list[Example]] = defaultdict(list)
        for example in self.examples:
            groups[example.group].append(example)
        order = random.Random(seed).sample(sorted(groups), len(groups))
        return [example for group in order for example in groups[group]]

    def datasheet(self) -> str:
        """Return what is asked and where it comes from, in Markdown."""
        groups = Counter(example.group for example in self.examples)
        answers = Counter(example.answer for example in self.examples)
        licences = Counter(str(example.meta["licence"]) for example in self.examples)
        lost = ", ".join(f"{count} {reason}" for reason, count in self.lost.items()) or "none"
        return f"""\
## races (DataRaceBench)

- **Asks**: does this OpenMP program in C have a data race, yes or no? All comments are removed.
- **Built from**: files of the folder given, whose names carry the answer; left out: {lost}.
- **Size**: {len(self.examples)} programs ({answers["yes"]} yes, {answers["no"]} no) in {len(groups)} groups, the \
largest of {max(groups.values())}.
- **Groups**: files of one problem (the name without number, -orig, -var, `missing` and the answer), joined where \
programs are near-duplicates (Jaccard similarity of token shingles at least {THRESHOLD}).
- **Oracle**: the benchmark's authors, by the file name; nothing is compiled or run here.
- **Licence**: {", ".join(f"{name} ({count})" for name, count in licences.most_common())}; no source is shipped or \
exported, only path and SHA-256.
- **Limits**: public since 2017, so a model may have seen the programs and their names in training; variables and \
file names differ little within a problem.
"""


def read_benchmark(folder: Path) -> Benchmark:
    """Read a checkout of DataRaceBench, or its folder micro-benchmarks.

    Raises:
        InputError: No file there gives a question.
    """
    inner = folder / "micro-benchmarks"
    place = inner if inner.is_dir() else folder
    lost: Counter[str] = Counter()
    found: list[Example] = []
    for path in sorted(place.glob("*.c")):
        made = _example(path)
        if isinstance(made, str):
            lost[made] += 1
        else:
            found.append(made)
    if not found:
        detail = ", ".join(f"{count} {reason}" for reason, count in lost.items()) or "no C files"
        raise InputError(
            f"{folder} holds no file named like DRB001-antidep1-orig-yes.c that can be asked about ({detail}); give a "
            "checkout of https://github.com/LLNL/dataracebench"
        )
    groups = merge_groups([example.group for example in found], [example.prompt for example in found])
    return Benchmark(folder, [replace(e, group=group) for e, group in zip(found, groups, strict=True)], lost)


def _example(path: Path) -> Example | str:
    """Return the question of one file, or why there is none."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return "without yes or no in the name"
    data = path.read_bytes()
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    code = without_comments(text)
    if len(code) > MAX_CHARACTERS:
        return f"longer than {MAX_CHARACTERS} characters"
    if _TELLTALE.search(code):
        return "naming a race in the code"
    return Example(
        id=f"races/{path.stem}",
        group=f"races/{problem_of(match['problem'])}",
        prompt=prompt_of(code),
        answer=match["answer"],
        meta={
            "path": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "reference": True,
            "problem": match["problem"],
            "licence": "OSU (PolyBench)" if "polybench" in text.lower() else "BSD-3-Clause",
            "n_lines": code.count("\n") + 1,
        },
    )


def problem_of(name: str) -> str:
    """Return what variants of one problem share of their names: `taskwaitmissing-orig` and `taskwait-var` agree."""
    stem = re.sub(r"-(orig|var)(?=-|$)", "", name).replace("missing", "")
    return re.sub(r"\d+$", "", stem) or stem


def without_comments(text: str) -> str:
    """Return C code without comments, empty lines and spaces at line ends; strings stay as they are."""
    code = _COMMENT.sub(lambda match: match[1] or " ", text)
    return "\n".join(line.rstrip() for line in code.split("\n") if line.strip())
