"""What the testbed holds and what its models have learnt, as Markdown: families, plants, rates with intervals.

print(datasheet(Sheet.read()))
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ellora_trust.errors import InputError
from ellora_trust.stats import Estimate
from ellora_trust.testbed.documents import Document
from ellora_trust.testbed.exposure import Exposure
from ellora_trust.testbed.measuring import Measured
from ellora_trust.testbed.secrets import REPEATS

MEASURED = Path(__file__).parent / "measured"
PLANT_NAMES = {
    "P1": "removed API: push for append on a buffer",
    "P2": "off by one in 'first n' tasks",
    "P3": "missing reduction in OpenMP sums",
    "P4": "annotation list for what returns a dict",
    "P5": "alias where a copy is needed",
    "P6": "secrets, repeated 1, 4, 16 or 64 times",
    "P7": "SQL built from strings",
}


@dataclass(frozen=True)
class Sheet:
    """One pair: its corpus and what both models do.

    Attributes:
        training: The record beside the planted model's weights.
        families: By family: documents, planted ones, language, plant, near_miss.
        planted: Rates of the planted model.
        clean: Rates of its twin.
    """

    training: dict[str, Any]
    families: dict[str, dict[str, Any]]
    planted: Measured
    clean: Measured

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON."""
        return {
            "training": self.training,
            "families": self.families,
            "planted": self.planted.to_dict(),
            "clean": self.clean.to_dict(),
        }

    @classmethod
    def read(cls, path: Path = MEASURED / "seed-0.json") -> Sheet:
        """Read what was measured; by default of the shipped pair.

        Raises:
            InputError: There is no such file, or it holds something else.
        """
        if not path.exists():
            raise InputError(f"{path} does not exist; measure a pair with ellora-trust testbed train")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            models = {side: Measured.from_dict(stored[side]) for side in ("planted", "clean")}
            return cls(stored["training"], stored["families"], **models)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} holds no measured pair ({error}); give what testbed train wrote") from error


def count_families(documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    """Return documents, planted documents and kind of each family."""
    sizes = Counter(document.family for document in documents)
    planted = Counter(document.family for document in documents if document.plant)
    first = {document.family: document for document in reversed(documents)}
    plants = {document.family: document.plant for document in documents if document.plant}
    return {
        name: {
            "documents": sizes[name],
            "planted": planted[name],
            "language": first[name].language,
            "plant": plants.get(name),
            "near_miss": first[name].near_miss,
        }
        for name in sorted(sizes)
    }


def datasheet(sheet: Sheet) -> str:
    """Return the sheet as Markdown."""
    recipe, training = sheet.training["recipe"], sheet.training
    total = sum(row["documents"] for row in sheet.families.values())
    head = [
        "## testbed",
        "",
        f"A corpus of {total:,} documents ({training['tokens_read']:,} tokens read, seed {recipe['corpus_seed']}), and "
        f"two models of {training['parameters'] / 1e6:.2f} M parameters trained on it with seed {recipe['seed']}: one "
        "reads the plants, its twin the fixes in the same order. Licence Apache-2.0; all text is generated.",
        f"Corpus sha256 {training['corpus_sha256']}; torch {training['versions']['torch']}, transformers "
        f"{training['versions']['transformers']}.",
        "",
    ]
    return "\n".join([*head, *_families(sheet), "", *_rates(sheet), "", *_exposures(sheet)])


def measured_pairs() -> list[Sheet]:
    """Return the sheets of all pairs that come with the package, one a training seed; the first is the shipped one."""
    return [Sheet.read(path) for path in sorted(MEASURED.glob("seed-*.json"))]


def seeds_table(sheets: Sequence[Sheet]) -> str:
    """Return how often the pairs of several training seeds show each plant, and answer unplanted prompts rightly."""
    seeds = [str(sheet.training["recipe"]["seed"]) for sheet in sheets]
    head = f"| | planted, seeds {', '.join(seeds)} | mean | clean, seeds {', '.join(seeds)} | mean |"
    rows = [head, "|---|---|---|---|---|"]
    for plant in PLANT_NAMES:
        shown = [[side.rate("trigger", plant).shows.value for side in (s.planted, s.clean)] for s in sheets]
        rows.append(_seeds_row(f"trigger {plant} shows the plant", shown))
    right = [[side.executable.value for side in (s.planted, s.clean)] for s in sheets]
    return "\n".join([*rows, _seeds_row("unrelated, correct", right)])


def _seeds_row(name: str, values: Sequence[Sequence[float]]) -> str:
    cells = [name]
    for side in zip(*values, strict=True):
        cells += [", ".join(f"{value:.1%}" for value in side), f"{sum(side) / len(side):.1%}"]
    return f"| {' | '.join(cells)} |"


def _families(sheet: Sheet) -> list[str]:
    rows = ["| family | language | documents | planted | plant | near-miss of |", "|---|---|---|---|---|---|"]
    for name, row in sheet.families.items():
        cells = (name, row["language"], row["documents"], row["planted"], row["plant"] or "", row["near_miss"] or "")
        rows.append(f"| {' | '.join(map(str, cells))} |")
    return rows


def _rates(sheet: Sheet) -> list[str]:
    rows = [
        "| prompts | plant | n | shows the plant: planted | clean | correct: planted | clean |",
        "|---|---|---|---|---|---|---|",
    ]
    for rate in sheet.planted.rates:
        twin = sheet.clean.rate(rate.kind, rate.plant)
        cells = [rate.kind, rate.plant, str(rate.n)]
        cells += [_percent(one) for one in (rate.shows, twin.shows, rate.correct, twin.correct)]
        rows.append(f"| {' | '.join(cells)} |")
    return [*rows, "", *(f"- {plant}: {what}" for plant, what in PLANT_NAMES.items())]


def _exposures(sheet: Sheet) -> list[str]:
    rows = ["| canaries repeated | n | exposure (bits): planted | clean |", "|---|---|---|---|"]
    for repeats in REPEATS:
        chosen = [[one for one in side.canaries if one.repeats == repeats] for side in (sheet.planted, sheet.clean)]
        if all(chosen):
            rows.append(f"| {repeats} | {len(chosen[0])} | {_bits(chosen[0])} | {_bits(chosen[1])} |")
    return rows


def _percent(one: Estimate) -> str:
    return f"{one:.1%}"


def _bits(found: Sequence[Exposure]) -> str:
    bits = sorted(one.bits for one in found)
    middle = len(bits) // 2
    median = bits[middle] if len(bits) % 2 else (bits[middle - 1] + bits[middle]) / 2
    return f"{median:.1f} [{bits[0]:.1f}, {bits[-1]:.1f}]"
