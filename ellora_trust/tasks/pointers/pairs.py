"""The list of pairs that a seed gives: every template has a stream of its own, and the streams take turns.

A stream depends on the seed, the language and the template alone, so nothing that is dropped or not installed
changes what the other streams give. Pairs are drawn and compiled only as far as they are asked for.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import Sandbox
from ellora_trust.tasks.pointers.draw import Draw, Language, Sketch, skeleton
from ellora_trust.tasks.pointers.fortran import FORTRAN_TEMPLATES
from ellora_trust.tasks.pointers.lifetimes import C_UNDEFINED
from ellora_trust.tasks.pointers.oracle import VARIANTS, PairOracle, Verdict, verdict
from ellora_trust.tasks.pointers.templates import C_DEFINED

TEMPLATES: dict[Language, dict[str, Callable[[Draw], Sketch]]] = {
    "c": {**C_DEFINED, **C_UNDEFINED},
    "fortran": FORTRAN_TEMPLATES,
}
LANGUAGE_OF: dict[str, Language] = {name: language for language in TEMPLATES for name in TEMPLATES[language]}
# More drops of one template than this, beside as many as are kept, are the toolchain's doing and not bad luck.
_SPARE_DROPS = 20


@dataclass(frozen=True)
class Candidate:
    """A drawn pair, not yet compiled."""

    template: str
    sketch: Sketch
    group: str
    programs: tuple[str, str]
    flipped: bool


@dataclass(frozen=True)
class Pair(Candidate):
    """A pair with the answers that its builds gave."""

    verdict: Verdict


def digest(text: str) -> str:
    """Return a short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def candidates(template: str, seed: int) -> Iterator[Candidate]:
    """Yield the distinct pairs of one template, without end."""
    language = LANGUAGE_OF[template]
    rng = random.Random(f"{seed} {language} {template}")
    seen: set[str] = set()
    while True:
        draw = Draw(rng, language)
        core = TEMPLATES[language][template](draw)
        sketch = draw.distract(core)
        # Neither variant always comes first, so that an odd limit or the order in a batch tells nothing.
        flipped = rng.random() < 0.5
        programs = (sketch.program(VARIANTS[0]), sketch.program(VARIANTS[1]))
        if seen.isdisjoint(programs):
            seen.update(programs)
            yield Candidate(template, sketch, digest(skeleton(core.program(VARIANTS[0]))), programs, flipped)


class Pairs:
    """The pairs of one seed.

    Args:
        box: Where they are compiled and run.
        seed: Of all choices.
        languages: Those whose compiler is there.

    Attributes:
        languages: As given.
        drawn: Pairs compiled so far.
        dropped: Of these, how many were dropped, by reason.
    """

    def __init__(self, box: Sandbox, seed: int, languages: Sequence[Language]) -> None:
        self.languages = tuple(languages)
        self.drawn = 0
        self.dropped: Counter[str] = Counter()
        self._seed = seed
        self._oracles = {language: PairOracle(language, box) for language in self.languages}
        self._streams = {name: candidates(name, seed) for language in languages for name in TEMPLATES[language]}
        self._kept: dict[str, list[Pair]] = {name: [] for name in self._streams}
        self._lost: Counter[str] = Counter()

    @property
    def round_size(self) -> int:
        """Templates there are, which is the number of pairs in a round."""
        return len(self._streams)

    def first(self, count: int) -> list[Pair]:
        """Return the first `count` pairs of the list, compiling what is not yet known.

        Raises:
            EnvironmentProblem: A compiler is missing, or its programs cannot be decided on this machine.
        """
        names = list(islice(self._order(), count))
        needed = Counter(names)
        while short := {
            name: needed[name] - len(self._kept[name]) for name in needed if len(self._kept[name]) < needed[name]
        }:
            self._draw(short)
        turns: Counter[str] = Counter()
        found = []
        for name in names:
            found.append(self._kept[name][turns[name]])
            turns[name] += 1
        return found

    def _order(self) -> Iterator[str]:
        """Yield templates: each once a round, the languages spread evenly over the round and shuffled in themselves."""
        streams = {language: random.Random(f"{self._seed} {language} order") for language in TEMPLATES}
        while True:
            placed = []
            for language, templates in TEMPLATES.items():
                names = streams[language].sample(list(templates), len(templates))
                placed += [((place + 0.5) / len(names), name) for place, name in enumerate(names)]
            yield from (name for _, name in sorted(placed) if LANGUAGE_OF[name] in self.languages)

    def _draw(self, short: dict[str, int]) -> None:
        """Compile as many candidates of each template as it is short of."""
        for language in self.languages:
            drawn = [
                candidate
                for name, missing in short.items()
                if LANGUAGE_OF[name] == language
                for candidate in islice(self._streams[name], missing)
            ]
            observed = self._oracles[language].observe([candidate.programs for candidate in drawn]) if drawn else []
            for candidate, found in zip(drawn, observed, strict=True):
                self._sort(candidate, verdict(found, report=candidate.sketch.report))

    def _sort(self, candidate: Candidate, found: Verdict) -> None:
        self.drawn += 1
        name = candidate.template
        if not found.dropped:
            self._kept[name].append(Pair(**vars(candidate), verdict=found))
            return
        self.dropped[found.dropped] += 1
        self._lost[name] += 1
        if self._lost[name] > _SPARE_DROPS + len(self._kept[name]):
            raise EnvironmentProblem(
                f"this machine's compiler decides too few programs of template {name!r} (last: {found.dropped}); "
                "use another version of gcc and gfortran"
            )
