"""The task `types`: which annotation did the authors of real code write here?

Use it to measure, predict, explain and steer a model's answers about Python code it did not write. Examples come from
annotated functions of packages installed on this machine and from the standard library (labels from typeshed), or, with
`source`, from your own Python and TypeScript. The answer counts after normalising: `Optional[int]` is `int | None`.

    task = TypesTask()                        # or TypesTask(Path("src"))
    example = task.examples(limit=1, seed=0)[0]
    task.decide(example, " Optional[int] = None")     # Outcome.CORRECT where the answer is 'int | None'
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.base import Example, Outcome, Task
from ellora_trust.tasks.near_duplicates import THRESHOLD, merge_groups
from ellora_trust.tasks.types.normal import leading_annotation, same_type
from ellora_trust.tasks.types.questions import MAX_CODE, ask
from ellora_trust.tasks.types.rows import MANIFEST, Found, Manifest, Resolution, read_manifest, resolve
from ellora_trust.tasks.types.second_opinion import SecondOpinion
from ellora_trust.tasks.types.sources import TYPESCRIPT, scan, typescript_files
from ellora_trust.tasks.types.stratify import stratified_order
from ellora_trust.tasks.types.typescript import questions as typescript


class TypesTask(Task):
    """Predict a masked annotation of a parameter or a return value, in TypeScript of a variable too.

    A type counts as the answer if both have one normal form; a looser or narrower one is wrong, whether the code would
    accept it or not. In TypeScript, where tsc is installed, a type also counts that tsc proves identical: for example
    an alias, in a file that has no type error by itself.

    Attributes:
        source: A user's folder of .py and .ts files, or JSONL file of such (`type_sources.code_rows`); None for the
            built-in manifest.
    """

    name = "types"
    max_new_tokens = 12
    # Everything that can follow an annotation on its line, except the comma: it also separates parameters of a type.
    stop = ("\n", "=", ")", ":", "#")

    def __init__(self, source: Path | None = None, *, box: Sandbox | None = None) -> None:
        """Check the source; no code is read before the first question.

        Args:
            source: Where the code is.
            box: Where tsc runs; by default a sandbox is made when it is first to run.

        Raises:
            InputError: The source is neither a folder nor a .jsonl file.
        """
        is_rows = source is not None and source.suffix == ".jsonl" and source.is_file()
        if source is not None and not source.is_dir() and not is_rows:
            raise InputError(
                f"{source} is not a folder; give one that holds .py files or .ts files, for example --source src"
            )
        self.source = source
        self._opinion = SecondOpinion(source, box)
        self._asks_typescript = is_rows or (source is not None and any(typescript_files(source)))
        if self._asks_typescript:
            self.stop = ("\n",)  # a type of TypeScript may hold all of the others

    @property
    def resolution(self) -> Resolution:
        """How many rows, or functions of `source`, became questions, and why the others did not."""
        return self._built[1]

    def examples(self, *, limit: int | None = None, seed: int = 0) -> list[Example]:
        """Return at most `limit` examples; no type exceeds a third, in prefixes as far as whole groups allow.

        Raises:
            InputError: The limit is below 1, or the source has too little annotated code.
            EnvironmentProblem: Nothing of the manifest is installed.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit {limit} is out of range; use 1 or more, or leave it out for all examples")
        pool = self._built[0]
        order = stratified_order(
            [example.group for example in pool], [str(example.meta["type"]) for example in pool], seed=seed
        )
        return [pool[index] for index in order[:limit]]

    def decide(self, example: Example, completion: str) -> Outcome:
        """Compare the type a completion starts with to the answer; what is no type is wrong."""
        if example.meta.get("language") == typescript.LANGUAGE:
            return self._opinion.decide(example, completion)
        given = leading_annotation(completion)
        correct = given is not None and same_type(given, example.answer or "")
        return Outcome.CORRECT if correct else Outcome.WRONG

    def oracle(self) -> dict[str, str]:
        """Return the version of tsc where TypeScript is asked about; else nothing."""
        return self._opinion.oracle() if self._asks_typescript else {}

    def datasheet(self) -> str:
        """Return what is asked, how it was built, size, licences, oracle and limits; numbers are of this machine."""
        examples = self.examples()
        types = Counter(str(example.meta["type"]) for example in examples)
        licences = Counter(str(example.meta["licence"] or "the user's own") for example in examples)
        kinds = Counter(str(example.meta["kind"]) for example in examples)
        commonest = ", ".join(f"`{name}` {count / len(examples):.0%}" for name, count in types.most_common(5))
        n_groups = len({example.group for example in examples})
        per_file = max(Counter((example.meta["distribution"], example.meta["path"]) for example in examples).values())
        n_left_out = len(self._built[0]) - len(examples)
        return f"""# types

- **Asks**: the annotation of one parameter ({kinds["param"]:,}) or return value ({kinds["return"]:,}) of a function in
  {self._languages(examples)}; at most {MAX_CODE} characters of code are shown, without docstrings and comments; other
  annotations stay.
- **Built from**: {self._origin()}; {self.resolution}.
- **Size**: {len(examples):,} examples in {n_groups:,} groups, at most {per_file} of a file; {n_left_out:,} more
  were left out so that no type exceeds a third. A group is a file, joined with those that hold near-duplicates (Jaccard
  similarity of token shingles at least {THRESHOLD}).
- **Answers**: {len(types):,} types; the commonest: {commonest}.
- **Licence**: {", ".join(f"{name} ({count:,})" for name, count in licences.most_common())}; no source is shipped.
- **Oracle**: the authors' annotation, or typeshed's, after normalising unions, aliases, quotes and module
  prefixes{self._proofs()}.
- **Known limits**: an annotation can be wrong or looser than the code; a correct supertype, subtype or alias counts as
  wrong; two classes of one name are taken for one; a model may have seen the packages in training.
"""

    def _origin(self) -> str:
        if self.source is not None:
            return f"annotated functions of the {'folder' if self.source.is_dir() else 'file'} given"
        n_releases = len(self._manifest.releases)
        return (
            f"a manifest of {len(self._manifest.rows):,} functions in {n_releases} distributions, the standard library "
            f"(labels: {self._manifest.labels}) among them"
        )

    def _languages(self, examples: list[Example]) -> str:
        n = sum(example.meta["language"] == typescript.LANGUAGE for example in examples)
        n_variables = sum(example.meta["kind"] == "var" for example in examples)
        python = ["Python"] if n < len(examples) else []
        return " or ".join(
            [*python, *([f"TypeScript ({n:,}), there of a variable too ({n_variables:,})"] if n else [])]
        )

    def _proofs(self) -> str:
        return "; in TypeScript a type that tsc, if installed, proves identical too" if self._asks_typescript else ""

    @cached_property
    def _manifest(self) -> Manifest:
        return read_manifest(MANIFEST)

    @cached_property
    def _built(self) -> tuple[list[Example], Resolution]:
        found, resolution = resolve(self._manifest) if self.source is None else scan(self.source)
        pool = [example for item in found if (example := self._example(item)) is not None]
        if len(pool) < len(found):
            lost = {**resolution.lost, "too long to show": len(found) - len(pool)}
            resolution = replace(resolution, resolved=len(pool), lost=lost)
        if not pool and self.source is None:
            raise EnvironmentProblem(f"the task types has no examples: {resolution}; reinstall ellora-trust")
        if not pool:
            raise InputError(
                f"{self.source} holds no annotation that can be asked about ({resolution}); "
                "give a folder of annotated Python or TypeScript code"
            )
        return self._merged(pool) if self.source is not None else pool, resolution

    def _merged(self, pool: list[Example]) -> list[Example]:
        """Join the groups of near-duplicates; the manifest's rows have been joined when it was built."""
        groups = merge_groups(
            [example.group for example in pool], [example.prefix + example.suffix for example in pool]
        )
        return [replace(example, group=group) for example, group in zip(pool, groups, strict=True)]

    def _example(self, item: Found) -> Example | None:
        row = item.row
        is_python = not row.path.endswith(TYPESCRIPT)
        question = ask(item.source, row.qualname, row.slot) if is_python else typescript.ask(item.source, row)
        if question is None:
            return None
        release = None if self.source is not None else self._manifest.releases[row.distribution]
        place = f"{row.distribution}/{row.path}" if row.distribution else row.path
        return Example(
            id=f"types/{place}:{row.qualname}:{row.name or 'return'}",
            group=f"types/{row.group}",
            prompt=question.prompt,
            answer=row.type,
            prefix=question.prefix,
            suffix=question.suffix,
            meta={
                "distribution": row.distribution or None,
                "version": release.version if release else None,
                "licence": release.licence if release else None,
                "path": row.path,
                "qualname": row.qualname,
                "kind": row.kind,
                "name": row.name,
                "type": row.type,
                "truncated": question.truncated,
                "language": "python" if is_python else typescript.LANGUAGE,
                "reference": self.source is None,
            },
        )
