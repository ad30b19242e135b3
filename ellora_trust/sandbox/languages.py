"""How a program of each language is compiled and started inside the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ellora_trust.errors import EnvironmentProblem, InputError, one_of
from ellora_trust.sandbox.jail import WORK, python, tool

PROGRAM = f"{WORK}/program"


@dataclass(frozen=True)
class Language:
    """One language's toolchain.

    Attributes:
        filename: What the source is called in the work folder.
        compiler: The usual compiler; None for an interpreted language.
        options: Always given to the compiler.
        suffixes: Of further files that are compiled with the source.
        package: What to install where the compiler is missing.
    """

    filename: str
    compiler: str | None
    options: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    package: str = ""

    def compile(self, flags: Sequence[str], *, extra: Sequence[str], compiler: str | None) -> list[str] | None:
        """Return the compiler's command line, or None where there is nothing to compile.

        Raises:
            EnvironmentProblem: The compiler is not installed.
        """
        name = compiler or self.compiler
        if name is None:
            return None
        found = tool(name)
        if found is None:
            raise EnvironmentProblem(f"{name} is not installed; install it: apt-get install {self.package or name}")
        sources = [self.filename, *(file for file in extra if file.endswith(self.suffixes))]
        return [found, *self.options, *(f"{WORK}/{file}" for file in sources), "-o", PROGRAM, *flags]

    def command(self) -> tuple[str, ...]:
        """Return what runs the built program."""
        if self.compiler is None:
            return (*python_command(), f"{WORK}/{self.filename}")
        return (PROGRAM,)


def python_command() -> tuple[str, ...]:
    """Return the interpreter's command line: isolated from user settings, without site-packages, UTF-8."""
    return (str(python()), "-I", "-S", "-X", "utf8")


LANGUAGES = {
    "python": Language("program.py", None),
    "c": Language("program.c", "gcc", ("-std=gnu17",), (".c",), "gcc libc6-dev"),
    "cpp": Language("program.cpp", "g++", ("-std=c++17",), (".cpp", ".cc"), "g++"),
    "fortran": Language("program.f90", "gfortran", (), (".f90",), "gfortran"),
}
NAMES = tuple(LANGUAGES)


def find(name: str) -> Language:
    """Return a language by name.

    Raises:
        InputError: It is not one of `NAMES`.
    """
    if name not in LANGUAGES:
        raise InputError(one_of(name, NAMES, what="language"))
    return LANGUAGES[name]


def by_suffix(filename: str) -> str:
    """Return the language of a file by its suffix.

    Raises:
        InputError: No language has that suffix.
    """
    for name, language in LANGUAGES.items():
        if filename.endswith((f".{language.filename.rpartition('.')[2]}", *language.suffixes)):
            return name
    raise InputError(f"cannot tell the language of {filename!r}; give --language, one of {', '.join(NAMES)}")
