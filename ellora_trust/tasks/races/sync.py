"""Race patterns of synchronisation: atomics, criticals, barriers, `nowait`, `ordered`, sections and tasks.

sketch = SYNC["master_barrier"](Draw(random.Random(0)))
"""

from __future__ import annotations

from collections.abc import Callable

from ellora_trust.tasks.races.draw import HOLE, MORE_REPEATS, Draw, Lines, Sketch

_ATOMIC = "#pragma omp atomic"
_CRITICAL = "#pragma omp critical"


def histogram(draw: Draw) -> Sketch:
    """Several iterations count in one bin."""
    draw.integers()
    bins = draw.rng.randint(3, 10)
    a, h = draw.array(), draw.array(bins)
    update = draw.rng.choice((f"{h}[{a}[i] % {bins}]++;", f"{h}[{a}[i] % {bins}] += {draw.digit()};"))
    return draw.sketch(draw.loop("", draw.header(), [HOLE, update]), ("", _ATOMIC), "atomic")


def missing_critical(draw: Draw) -> Sketch:
    """All iterations update one place, by more than an atomic could cover."""
    a, s, t = draw.array(), draw.name(), draw.name()
    update: Lines = ["{", [f"{s} += {draw.term(f'{a}[i]')};", f"{t} += {draw.digit()};"], "}"]
    if draw.rng.random() < 0.5:
        update = [f"if ({a}[i] > {s})", [f"{s} = {a}[i];"]]
    loop = draw.loop("", draw.header(), [HOLE, *update])
    declared = f"{draw.kind} {s} = 0, {t} = 0;"
    return draw.sketch([declared, *loop], ("", _CRITICAL), "critical", result=f"{s} + {t}")


def critical_names(draw: Draw) -> Sketch:
    """Two sections write to one array in critical sections of two names, or of one."""
    # Archer's own lock orders what two threads do before and after a critical section, so a race shows only where
    # both are inside at once: the loops stand inside, and are long.
    draw.repeats = MORE_REPEATS
    draw.n, height = draw.n // 4, draw.rng.randint(60, 90)
    a, s = draw.array(height, draw.n), draw.name()
    one, other = draw.tags()
    names = draw.rng.sample((f" ({one})", HOLE), 2)
    parts: list[str | Lines] = []
    for name, sign in zip(names, "+-", strict=True):
        inner: Lines = [f"for (int j = 0; j < {draw.n}; j++)", [f"{s} {sign}= {draw.term(f'{a}[i][j]')};"]]
        parts += ["#pragma omp section", f"{_CRITICAL}{name}", draw.header(height), inner]
    lines = [f"{draw.kind} {s} = 0;", "#pragma omp parallel sections", "{", parts, "}"]
    different = draw.rng.choice(("", f" ({other})"))
    return draw.sketch(lines, (different, f" ({one})"), "same name", result=s)


def mixed_guards(draw: Draw) -> Sketch:
    """One update is atomic, the other in a critical section, or both are atomic."""
    a, b, s = draw.array(), draw.array(), draw.name()
    guards = draw.rng.sample((_ATOMIC, f"#pragma omp {HOLE}"), 2)
    updates = (f"{s} += {draw.term(f'{a}[i]')};", f"{s} -= {draw.term(f'{b}[i]')};")
    parts: list[str | Lines] = []
    for guard, update in zip(guards, updates, strict=True):
        parts += ["#pragma omp section", f"{draw.header()} {{", [guard, update], "}"]
    lines = [f"{draw.kind} {s} = 0;", "#pragma omp parallel sections", "{", parts, "}"]
    return draw.sketch(lines, ("critical", "atomic"), "one kind of guard", result=s)


def half_atomic(draw: Draw) -> Sketch:
    """One of two updates of a variable is atomic, or both are."""
    a, s = draw.array(), draw.name()
    updates = [f"{s} += {draw.term(f'{a}[i]')};", f"{s} -= {draw.digit()};"]
    guards = draw.rng.sample((_ATOMIC, HOLE), 2)
    condition = f"if ({a}[i] > {draw.rng.randint(3, 6)}) {{"
    branch: Lines = [condition, [guards[0], updates[0]], "} else {", [guards[1], updates[1]], "}"]
    loop = draw.loop("", draw.header(), branch)
    return draw.sketch([f"{draw.kind} {s} = 0;", *loop], ("", _ATOMIC), "second atomic", result=s)


def check_outside(draw: Draw) -> Sketch:
    """The comparison stands outside of the critical section, or inside."""
    a, s = draw.array(), draw.name()
    compare, store = f"if ({a}[i] > {s})", f"{s} = {a}[i];"
    outside = f"{compare}\n    {_CRITICAL}\n    {store}"
    inside = f"{_CRITICAL}\n{compare}\n    {store}"
    loop = draw.loop("", draw.header(), [HOLE])
    return draw.sketch([f"{draw.kind} {s} = {a}[0];", *loop], (outside, inside), "check inside", result=s)


def _two_loops(draw: Draw, first: str, second: str, read: str) -> tuple[Lines, str]:
    """Return a region in which one loop writes what the next reads, and the name of the array between them."""
    a, b, c = draw.array(), draw.array(), draw.array()
    one = [f"#pragma omp for{first}", draw.header(), [f"{b}[i] = {draw.term(f'{a}[i]')};"]]
    two = [f"#pragma omp for{second}", draw.header(), [f"{c}[i] = {b}[{read}] + {draw.digit()};"]]
    return ["#pragma omp parallel", "{", [*one, *two], "}"], b


def _elsewhere(draw: Draw) -> str:
    shift = draw.n // 2 + draw.digit()
    return draw.rng.choice((f"{draw.n - 1} - i", f"(i + {shift}) % {draw.n}"))


def nowait(draw: Draw) -> Sketch:
    """The second loop reads what other threads write in the first, with a barrier between the loops or without."""
    region, _ = _two_loops(draw, HOLE, "", _elsewhere(draw))
    return draw.sketch(region, (" nowait", ""), "no nowait")


def nowait_static(draw: Draw) -> Sketch:
    """Without a barrier a thread may read what it wrote itself, which one static schedule for both loops ensures.

    Source: OpenMP 5.0, section 2.9.2 on the static schedule: loops of one region with as many iterations and the same
    chunk size give each thread the same iterations.
    """
    region, _ = _two_loops(draw, " schedule(static) nowait", " schedule(static)", HOLE)
    return draw.sketch(region, (_elsewhere(draw), "i"), "own element")


def ordered_region(draw: Draw) -> Sketch:
    """The loop is ordered, but only the directive inside puts the statement in order."""
    draw.integers()
    a, s = draw.array(), draw.name()
    draw.split = False
    update = f"{s} = ({s} * {draw.digit()} + {a}[i]) % {100 + draw.n};"
    loop = draw.loop(" ordered", draw.header(), [HOLE, update])
    return draw.sketch([f"{draw.kind} {s} = 1;", *loop], ("", "#pragma omp ordered"), "ordered directive", result=s)


def reduction_read(draw: Draw) -> Sketch:
    """A sum is read by all threads before it is complete, or after the barrier."""
    a, b, s = draw.array(), draw.array(), draw.name()
    one = [f"#pragma omp for reduction(+:{s}){HOLE}", draw.header(), [f"{s} += {draw.term(f'{a}[i]')};"]]
    two = ["#pragma omp for", draw.header(), [f"{b}[i] = {a}[i] + {s};"]]
    lines = [f"{draw.kind} {s} = 0;", "#pragma omp parallel", "{", [*one, *two], "}"]
    return draw.sketch(lines, (" nowait", ""), "no nowait")


def _one_writes(draw: Draw, directive: str, between: str) -> tuple[Lines, str]:
    """Return a region in which one thread writes a variable and all read it, and the variable's name."""
    a, b, x = draw.array(), draw.array(), draw.name()
    write = [directive, f"{x} = {a}[{draw.digit()}] + {draw.digit()};", between]
    read = ["#pragma omp for" + draw.schedule(), draw.header(), [f"{b}[i] = {a}[i] + {x};"]]
    return [f"{draw.kind} {x} = 0;", "#pragma omp parallel", "{", [*write, *read], "}"], x


def single_nowait(draw: Draw) -> Sketch:
    """What one thread writes the others read, with a barrier after `single` or without."""
    lines, _ = _one_writes(draw, f"#pragma omp single{HOLE}", "")
    return draw.sketch(lines, (" nowait", ""), "no nowait")


def master_barrier(draw: Draw) -> Sketch:
    """What the master writes the others read; `master` has no barrier of its own."""
    lines, _ = _one_writes(draw, "#pragma omp master", HOLE)
    return draw.sketch(lines, ("", "#pragma omp barrier"), "barrier")


def sections(draw: Draw) -> Sketch:
    """Two sections add to one variable, or each to its own."""
    a, b, s, t = draw.array(), draw.array(), draw.name(), draw.name()
    one = ["#pragma omp section", draw.header(), [f"{s} += {draw.term(f'{a}[i]')};"]]
    two = ["#pragma omp section", draw.header(), [f"{HOLE} += {draw.term(f'{b}[i]')};"]]
    lines = [f"{draw.kind} {s} = 0, {t} = 0;", "#pragma omp parallel sections", "{", [*one, *two], "}"]
    return draw.sketch(lines, (s, t), "own variable", result=f"{s} - {t}")


def bit_fields(draw: Draw) -> Sketch:
    """Neighbouring bit-fields are one memory location, members of a full type are two.

    Source: ISO C11, section 3.14.
    """
    draw.kind = "int"
    a, x, y, q = draw.array(), draw.name(), draw.name(), draw.name()
    bits = draw.rng.randint(5, 12)
    record = f"struct {{ unsigned {x}{HOLE}, {y} : {bits}; }} {q};"
    body = [f"{q}.{x} = {a}[i] + {draw.digit()};", f"{q}.{y} = {a}[i] * 2;"]
    one = ["#pragma omp section", draw.header(), [body[0]]]
    two = ["#pragma omp section", draw.header(), [body[1]]]
    lines = ["#pragma omp parallel sections", "{", [*one, *two], "}"]
    return draw.sketch(lines, (f" : {bits}", ""), "full type", result=f"{q}.{x} + {q}.{y}", before=[record])


def _tasks(draw: Draw, body: Lines) -> Lines:
    return ["#pragma omp parallel", "#pragma omp single", "{", body, "}"]


def task_depend(draw: Draw) -> Sketch:
    """One task reads what another writes; only dependences put them in order."""
    a, b, x = draw.array(), draw.array(), draw.name()
    write: Lines = [f"#pragma omp task depend(out: {x})", draw.header(), [f"{x} += {draw.term(f'{a}[i]')};"]]
    read: Lines = [f"#pragma omp task{HOLE}", draw.header(), [f"{b}[i] = {a}[i] + {x};"]]
    lines = [f"{draw.kind} {x} = 0;", *_tasks(draw, [*write, *read])]
    return draw.sketch(lines, ("", f" depend(in: {x})"), "depend", result=x)


def task_wait(draw: Draw) -> Sketch:
    """The thread that made a task reads its result, after waiting for it or at once."""
    # The reading must last until another thread is awake and takes the task.
    draw.repeats = MORE_REPEATS
    draw.n = draw.rng.randint(40, 60)
    a, w, x = draw.array(), draw.array(draw.n, 100 + draw.n), draw.name()
    write: Lines = ["#pragma omp task", draw.header(), [f"{x} += {draw.term(f'{a}[i]')};"]]
    inner = [f"for (int j = 0; j < {100 + draw.n}; j++)", [f"{w}[i][j] = {a}[i] + {x};"]]
    read: Lines = [draw.header(), inner]
    lines = [f"{draw.kind} {x} = 0;", *_tasks(draw, [*write, HOLE, *read])]
    return draw.sketch(lines, ("", "#pragma omp taskwait"), "taskwait", result=x)


def task_update(draw: Draw) -> Sketch:
    """Two tasks update one variable."""
    # Two tasks without private copies: the runtime uses a finished task's memory again, which looks like a race.
    a, s = draw.array(), draw.name()
    guards = draw.rng.sample((_ATOMIC, HOLE), 2)
    half = draw.n // 2
    one = [draw.header(half) + " {", [guards[0], f"{s} += {draw.term(f'{a}[i]')};"], "}"]
    two = [draw.header(draw.n, half) + " {", [guards[1], f"{s} -= {draw.term(f'{a}[i]')};"], "}"]
    tasks = _tasks(draw, ["#pragma omp task", *one, "#pragma omp task", *two])
    return draw.sketch([f"{draw.kind} {s} = 0;", *tasks], ("", _ATOMIC), "second atomic", result=s)


SYNC: dict[str, Callable[[Draw], Sketch]] = {
    function.__name__: function
    for function in (
        histogram,
        missing_critical,
        critical_names,
        mixed_guards,
        half_atomic,
        check_outside,
        nowait,
        nowait_static,
        ordered_region,
        reduction_read,
        single_nowait,
        master_barrier,
        sections,
        bit_fields,
        task_depend,
        task_wait,
        task_update,
    )
}
