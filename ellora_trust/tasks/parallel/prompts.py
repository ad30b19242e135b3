"""Prompts in ParEval's style: a comment with an example, and a function's head.

The base set has each problem once an execution model; further rounds rename functions and parameters, take another
wording and another example.

    prompt_of(PROBLEMS["dot"], "omp", Wording())
"""

from __future__ import annotations

import random
import textwrap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ellora_trust.tasks.parallel.cases import RECIPES, Draw, Values
from ellora_trust.tasks.parallel.problems import Problem
from ellora_trust.tasks.parallel.signature import Parameter, Signature, signature

INCLUDES = {"serial": "", "omp": "#include <omp.h>\n\n", "mpi": "#include <mpi.h>\n\n"}
INCLUDES["mpi+omp"] = "#include <mpi.h>\n#include <omp.h>\n\n"
_TOOLS = {"omp": "OpenMP", "mpi": "MPI", "mpi+omp": "MPI and OpenMP"}
_WIDTH = 100
# None is a parameter of any problem, and none is a word that a text uses otherwise.
_INPUT_NAMES = ("u", "v", "p", "q", "data", "src", "given", "first", "second")
_OUTPUT_NAMES = ("w", "r", "dst", "dest", "res", "target", "filled", "store")


# None of these is asked. They show that the text ends with the function, and what each execution model looks like.
HEADER = """\
/* Multiply every element of x by factor.
*/
void scale(double factor, std::vector<double> &x) {
    for (size_t i = 0; i < x.size(); i++) {
        x[i] = x[i] * factor;
    }
}

#include <omp.h>

/* Return how many elements of x are negative.
   Use OpenMP to compute in parallel.
*/
int countNegative(std::vector<double> const& x) {
    int count = 0;
    #pragma omp parallel for reduction(+:count)
    for (size_t i = 0; i < x.size(); i++) {
        if (x[i] < 0) {
            count++;
        }
    }
    return count;
}

#include <mpi.h>

/* Return the sum of the squares of x.
   Use MPI to compute in parallel. Assume that MPI is initialized.
   Every rank has a complete copy of x. Return the result on all ranks.
*/
double sumOfSquares(std::vector<double> const& x) {
    int rank, size;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    double local = 0.0, total = 0.0;
    for (size_t i = rank; i < x.size(); i += size) {
        local += x[i] * x[i];
    }
    MPI_Allreduce(&local, &total, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    return total;
}

"""


@dataclass(frozen=True)
class Wording:
    """How one problem is put.

    Attributes:
        function: Index of the function's name.
        text: Index of the text.
        names: New names of parameters, by old name.
        example: Seed of the example in the comment.
    """

    function: int = 0
    text: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    example: int = 0

    @classmethod
    def drawn(cls, problem: Problem, rng: random.Random) -> Wording:
        """Draw another wording; scalars keep their names."""
        found = signature(f"{problem.signature} {{")
        assert found is not None  # the tests read every signature
        pools = {
            True: rng.sample(_OUTPUT_NAMES, len(_OUTPUT_NAMES)),
            False: rng.sample(_INPUT_NAMES, len(_INPUT_NAMES)),
        }
        taken = [one for one in found.parameters if "<" in one.kind]
        names = {one.name: pools[one.output].pop() for one in taken}
        n_functions, n_texts = len(problem.names), len(problem.texts)
        return cls(rng.randrange(n_functions), rng.randrange(n_texts), names, rng.randrange(1, 1 << 30))


def prompt_of(problem: Problem, model: str, wording: Wording) -> str:
    """Return the text that a model continues: up to and with the opening brace."""
    found = signature(f"{problem.signature} {{")
    assert found is not None
    names = {one.name: wording.names.get(one.name, one.name) for one in found.parameters}
    lines = [problem.texts[wording.text].format(**names), *_how(found, names, model)]
    wrapped = [textwrap.fill(line, _WIDTH, initial_indent="   ", subsequent_indent="   ") for line in lines]
    comment = "\n".join([*wrapped, "   Example:", "", *_example(problem, found, names, wording.example)])
    declares = f"{problem.declares}\n\n" if problem.declares else ""
    parameters = ", ".join(problem.parameters).format(**names)
    head = f"{problem.result} {problem.names[wording.function]}({parameters}) {{"
    return f"{INCLUDES[model]}{declares}/* {comment.lstrip()}\n*/\n{head}"


def _how(found: Signature, names: Mapping[str, str], model: str) -> list[str]:
    if model == "serial":
        return []
    lines = [f"Use {_TOOLS[model]} to compute in parallel."]
    if "mpi" in model:
        inputs = [names[one.name] for one in found.parameters if "<" in one.kind and not one.output]
        outputs = [names[one.name] for one in found.parameters if one.output]
        copies = " and ".join(filter(None, [", ".join(inputs[:-1]), inputs[-1]]))
        where = f"Store the result in {outputs[0]} on rank 0." if outputs else "Return the result on all ranks."
        lines[0] += " Assume that MPI is initialized."
        lines.append(f"Every rank has a complete copy of {copies}. {where}")
    return lines


def _example(problem: Problem, found: Signature, names: Mapping[str, str], seed: int) -> list[str]:
    recipe = RECIPES[problem.name]
    rng = np.random.default_rng([zlib.crc32(problem.name.encode()), seed])
    given = recipe.draw(Draw(rng, recipe.shown, turn=seed, plain=True))
    shown = [
        _shown(names[one.name], value) for one, value in zip(found.parameters, given, strict=True) if _told(one, value)
    ]
    outputs = [names[one.name] for one in found.parameters if one.output]
    answers: Values = recipe.answer(*given)
    results = answers if not outputs else [_shown(name, value) for name, value in zip(outputs, answers, strict=True)]
    return [f"   input: {' '.join(shown)}", f"   output: {' '.join(map(_number, results))}"]


def _told(one: Parameter, value: Any) -> bool:
    """Whether an argument is shown: outputs that hold zeros are not."""
    return not one.output or bool(np.any(value))


def _shown(name: str, value: Any) -> str:
    return f"{name}={_number(value)}"


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, np.ndarray):
        return f"[{', '.join(map(_number, value))}]"
    if isinstance(value, np.void):
        return f"{{{', '.join(_number(value[name]) for name in value.dtype.names or ())}}}"
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value)).lower()
    return f"{float(value) + 0.0:.4g}"  # no negative zero
