"""Every benchmark, one after the other, and one table of what they printed: each figure beside its peers.

    python -m benchmarks.run_all                       # hours; what was printed before is kept
    python -m benchmarks.run_all --only capture sweep  # again
    python -m benchmarks.run_all --write               # only the page, from what is there

What a benchmark prints lies in `benchmarks/printed/`, and docs/figures.md is made of it: nothing there is typed. A
figure whose line is not in the printed text any more stops the writing. `benchmarks/figures.py` says what is run.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import PARTS, Figure, Part

ROOT = Path(__file__).parents[1]
PRINTED, PAGE = ROOT / "benchmarks" / "printed", ROOT / "docs" / "figures.md"
HEAD = """# Figures

Made by `python -m benchmarks.run_all` from what the benchmarks printed on one machine; nothing here is typed. Times are
ratios within one run, intervals 95 %. What was printed stands below the table, with numbers of items and rounds.

"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [part.name for part in PARTS]
    parser.add_argument("--only", nargs="+", choices=names, default=[])
    parser.add_argument("--write", action="store_true", help="run nothing")
    options = parser.parse_args()
    failed = [] if options.write else [part.name for part in PARTS if not run(part, again=part.name in options.only)]
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(ROOT)} written" + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


def run(part: Part, *, again: bool) -> bool:
    """Run a benchmark unless it was printed before; return whether what it printed is there."""
    path = PRINTED / f"{part.name}.txt"
    if path.exists() and not again:
        return True
    began = time.monotonic()
    print(f"{part.name}: python {' '.join(part.command)}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, *part.command], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)
    print(f"{part.name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if done.returncode == 0:
        PRINTED.mkdir(exist_ok=True)
        path.write_text(done.stdout, encoding="utf-8")
    return done.returncode == 0


def page() -> str:
    """Return the table and all that was printed, as Markdown.

    Raises:
        LookupError: A figure's line was not printed.
    """
    there = [
        (part, path.read_text(encoding="utf-8")) for part in PARTS if (path := PRINTED / f"{part.name}.txt").exists()
    ]
    rows = [row(part, figure, text) for part, text in there for figure in part.figures]
    table = "| | here | beside | command |\n|---|---|---|---|\n" + "\n".join(rows)
    printed = "\n".join(
        f"## {part.name}\n\n`python {' '.join(part.command)}`\n\n```text\n{text.strip()}\n```\n" for part, text in there
    )
    missing = [f"`python {' '.join(part.command)}`" for part in PARTS if part not in [one for one, _ in there]]
    note = f"Not printed yet: {', '.join(missing)}.\n\n" if missing else ""
    return f"{HEAD}{table}\n\n{note}{printed}"


def row(part: Part, figure: Figure, text: str) -> str:
    beside = ", ".join(f"{name} {found(part, pattern, text)}" for name, pattern in figure.beside)
    return f"| {figure.what} | {found(part, figure.ours, text)} | {beside} | [{part.name}](#{part.name}) |"


def found(part: Part, pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise LookupError(
            f"{part.name} printed nothing like {pattern!r}; mend the figure in run_all.py or run it again"
        )
    return re.sub(r"\s+", " ", match[1].strip())


if __name__ == "__main__":
    main()
