"""What a pair of pointer programs shows when it is compiled three ways and run, and what follows from that.

Each member is built at -O0, at -O2 and with AddressSanitizer and UndefinedBehaviorSanitizer. An answer is kept if the
two plain builds agree and the sanitizers are silent; `undefined` is kept if the sanitizer says what it must.

    oracle = PairOracle("c", Sandbox())
    (found,) = oracle.observe([("alias source", "copy source")])
    verdict(found, report="")            # Verdict(answers=("5", "3"), dropped="", builds_differ=False)
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from ellora_trust.errors import EnvironmentProblem
from ellora_trust.sandbox import Limits, Sandbox
from ellora_trust.sandbox.jail import tool
from ellora_trust.tasks.pointers.draw import CONSTRUCTION, Language
from ellora_trust.tasks.verified import Observed, verified

UNDEFINED = "undefined"
VARIANTS = ("alias", "copy")
SANITIZERS = "address,undefined"

_COMPILERS: dict[Language, tuple[str, str, str]] = {
    "c": ("gcc", "c", "gcc libc6-dev"),
    "fortran": ("gfortran", "f90", "gfortran"),
}
# A short answer: up to three numbers. Longer ones need more tokens than a small model's prompt is worth.
_SHORT = re.compile(r"-?\d{1,3}( -?\d{1,3}){0,2}")
_SPOKEN = re.compile(r"AddressSanitizer:(?: attempting)? ([\w-]+)|runtime error: (.+)")
_SEPARATOR = "\0"
_BUILDS = ("O0", "O2", "san")
# One jail for all six builds and runs: a jail costs 9 ms, a plain build and its run 35, a sanitized one 70.
# Leaks are not undefined, symbols are not read, and a returned local is found only on request.
_SCRIPT = f"""
export ASAN_OPTIONS=detect_stack_use_after_return=1:detect_leaks=0:symbolize=0 UBSAN_OPTIONS=symbolize=0
for name in {" ".join(VARIANTS)}; do for build in {" ".join(_BUILDS)}; do
  case $build in san) flags='-O0 -fsanitize={SANITIZERS}';; *) flags=-$build;; esac
  echo "@$name $build"
  if "$1" -w $flags $name.$2 -o $name.$build >said 2>&1
  then ./$name.$build >printed 2>said; echo "code $?"; head -c 100 printed; echo
  else echo unbuilt; echo
  fi
  echo @said; head -c 2000 said; echo
done; done
"""
_BLOCK = re.compile(r"^@(\w+) (\w+)\n(unbuilt|code \d+)\n(.*?)\n@said\n(.*?)(?=^@|\Z)", re.MULTILINE | re.DOTALL)
_LIMITS = Limits(wall=120.0, cpu=60.0, memory=2 << 30, scratch=256 << 20)


@dataclass(frozen=True)
class Verdict:
    """What a pair's builds say.

    Attributes:
        answers: Of the alias and of the copy; empty where the pair is dropped.
        dropped: Why, in a few words; empty where it is kept.
        builds_differ: Whether the alias printed different things at -O0 and -O2.
    """

    answers: tuple[str, ...]
    dropped: str
    builds_differ: bool


@dataclass(frozen=True)
class PairOracle:
    """Compiles and runs pairs of one language; results are kept in the cache."""

    language: Language
    box: Sandbox

    def observe(self, pairs: Sequence[tuple[str, str]]) -> list[Observed]:
        """Return what the builds of each pair printed and what the sanitizers said.

        Raises:
            EnvironmentProblem: The compiler or its sanitizers are missing, or a run passed its bounds.
        """
        version = compiler_version(self.language)
        if version is None:
            raise EnvironmentProblem(_missing(self.language))
        joined = [_SEPARATOR.join(pair) for pair in pairs]
        return verified(f"pointers-{self.language}", f"{version}\n{_SCRIPT}", joined, self._observe_one)

    def _observe_one(self, joined: str) -> Observed:
        name, suffix, _ = _COMPILERS[self.language]
        sources = zip(VARIANTS, joined.split(_SEPARATOR), strict=True)
        files = {f"{variant}.{suffix}": f"{source}\n" for variant, source in sources}
        argv = ["/bin/sh", "-c", _SCRIPT, "sh", name, suffix]
        done = self.box.execute(argv, files=files, writable=True, limits=_LIMITS)
        if not done.ok:  # no result, for it may hang on how busy the machine is
            raise EnvironmentProblem(
                f"compiling and running a pair of {self.language} programs ended with {done.status} after "
                f"{done.wall:.0f} s: {done.stderr.strip()[:200]}; try again when the machine is less busy"
            )
        found: Observed = {}
        for variant, build, code, printed, said in _BLOCK.findall(done.stdout):
            if code == "unbuilt":
                raise EnvironmentProblem(_unbuildable(self.language, build, said))
            found[f"{variant} {build}"] = f"{code.removeprefix('code ')}:{' '.join(printed.split())}"
            if build == "san":
                spoken = [report or error for report, error in _SPOKEN.findall(said)]
                found[f"{variant} said"] = "; ".join(dict.fromkeys(spoken)) or said.strip()[:100]
        return found


def verdict(found: Observed, *, report: str) -> Verdict:
    """Return what follows for a pair.

    Args:
        found: What its builds showed.
        report: `Sketch.report` of the pair.
    """
    differ = found["alias O0"] != found["alias O2"]
    outcomes = [_undefined(found, report) if report else _defined(found, "alias"), _defined(found, "copy")]
    reasons = [reason for _, reason in outcomes if reason]
    answers = tuple(answer for answer, _ in outcomes)
    if not reasons and answers[0] == answers[1]:
        reasons = ["both members print the same"]
    return Verdict(() if reasons else answers, reasons[0] if reasons else "", differ)


def _defined(found: Observed, variant: str) -> tuple[str, str]:
    """Return the answer, or why there is none."""
    if found[f"{variant} said"]:
        return "", "a sanitizer spoke of a member meant to be defined"
    outcomes = {str(found[f"{variant} {build}"]) for build in _BUILDS}
    if len(outcomes) > 1:
        return "", "the builds of a member disagree"
    code, _, answer = outcomes.pop().partition(":")
    if code != "0":
        return "", "a member exits with an error"
    return answer, "" if _SHORT.fullmatch(answer) else "an answer is too long"


def _undefined(found: Observed, report: str) -> tuple[str, str]:
    heard = report == CONSTRUCTION or report in str(found["alias said"]).split("; ")
    return UNDEFINED, "" if heard else "the sanitizer did not report what it must"


def compiler_version(language: Language) -> str | None:
    """Return the first line of `--version`, or None where the compiler is not installed."""
    path = tool(_COMPILERS[language][0])
    if path is None:
        return None
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0].strip() or None


def _missing(language: Language) -> str:
    name, _, package = _COMPILERS[language]
    return (
        f"{name} is not installed and the task 'pointers' compiles its programs; install it: apt-get install {package}"
    )


def _unbuildable(language: Language, build: str, said: str) -> str:
    name, _, package = _COMPILERS[language]
    what = f"with -fsanitize={SANITIZERS}" if build == "san" else f"at -{build}"
    lines = said.strip().splitlines() or ["no message"]
    return f"{name} builds no {language} program {what} here ({lines[-1]}); install it whole: apt-get install {package}"
