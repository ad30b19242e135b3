"""Race patterns of variables that threads share and should not, or that a clause covers only in part.

sketch = SHARING["missing_private"](Draw(random.Random(0)))
"""

from __future__ import annotations

from collections.abc import Callable

from ellora_trust.tasks.races.draw import HOLE, Draw, Lines, Sketch, braced


def missing_reduction(draw: Draw) -> Sketch:
    """All iterations update one accumulator."""
    a, s, start = draw.array(), draw.name(), "0"
    operator = draw.rng.choice(("+", "-", "max", "^", "|"))
    if operator in "^|":
        draw.integers()
    body: Lines = [f"{s} {operator}= {draw.term(f'{a}[i]')};"]
    if operator == "max":
        body, start = [f"if ({a}[i] > {s})", [f"{s} = {a}[i];"]], f"{a}[0]"
    fills = (draw.unshared(s), f" reduction({operator}:{s})")
    loop = draw.loop(HOLE, draw.header(), body)
    return draw.sketch([f"{draw.kind} {s} = {start};", *loop], fills, "reduction", result=s)


def partial_reduction(draw: Draw) -> Sketch:
    """Two accumulators, of which the clause names one or both."""
    a, s, t = draw.array(), draw.name(), draw.name()
    one = draw.rng.choice((s, t))
    updates = [f"{s} += {draw.term(f'{a}[i]')};", f"{t} += {draw.term(f'{a}[i]')};"]
    loop = draw.loop(f" reduction(+:{HOLE})", draw.header(), updates)
    fills = (one, f"{s}, {t}")
    return draw.sketch(
        [f"{draw.kind} {s} = 0, {t} = 0;", *loop], fills, "reduction of both", result=f"{s} + {draw.digit()} * {t}"
    )


def wrong_reduction(draw: Draw) -> Sketch:
    """The clause names a variable that the loop does not touch."""
    a, s, t = draw.array(), draw.name(), draw.name()
    loop = draw.loop(f" reduction(+:{HOLE})", draw.header(), [f"{s} += {draw.term(f'{a}[i]')};"])
    lines = [f"{draw.kind} {s} = 0, {t} = {draw.digit()};", *loop, f"{t} = {t} + {s};"]
    return draw.sketch(lines, (t, s), "right variable", result=t)


def missing_private(draw: Draw) -> Sketch:
    """A temporary of every iteration is declared outside of the loop."""
    a, b, t = draw.array(), draw.array(), draw.name()
    body = [f"{t} = {draw.term(f'{a}[i]')};", f"{b}[i] = {t} * {draw.digit()};"]
    loop = draw.loop(HOLE, draw.header(), body)
    return draw.sketch([f"{draw.kind} {t};", *loop], (draw.unshared(t), f" private({t})"), "private")


def partial_private(draw: Draw) -> Sketch:
    """Two temporaries, of which the clause names one or both."""
    a, b, t, u = draw.array(), draw.array(), draw.name(), draw.name()
    one = draw.rng.choice((t, u))
    body = [f"{t} = {draw.term(f'{a}[i]')};", f"{u} = {t} + {draw.digit()};", f"{b}[i] = {t} * {u};"]
    loop = draw.loop(f" private({HOLE})", draw.header(), body)
    return draw.sketch([f"{draw.kind} {t}, {u};", *loop], (one, f"{t}, {u}"), "private for both")


def inner_counter(draw: Draw) -> Sketch:
    """The inner loop's counter is declared outside of both loops."""
    draw.n = draw.rng.randint(20, 40)
    width = draw.rng.randint(10, 30)
    w, j = draw.array(draw.n, width), draw.name()
    step = draw.rng.choice((f"= i + {j}", f"+= {draw.digit()}", f"= i * {draw.digit()}"))
    inner = [f"for ({j} = 0; {j} < {width}; {j}++)", [f"{w}[i][{j}] {step};"]]
    loop = draw.loop(HOLE, draw.header(), inner)
    return draw.sketch([f"int {j};", *loop], (draw.unshared(j), f" private({j})"), "private")


def missing_firstprivate(draw: Draw) -> Sketch:
    """A small buffer keeps a constant that every iteration reads and a place that it writes."""
    a, b, t = draw.array(), draw.array(), draw.name()
    constant = draw.digit()
    body = [f"{t}[1] = {a}[i] * {t}[0];", f"{b}[i] = {t}[1] + {draw.digit()};"]
    loop = draw.loop(HOLE, draw.header(), body)
    lines = [f"{draw.kind} {t}[2] = {{{constant}, 0}};", *loop]
    return draw.sketch(lines, (draw.unshared(t), f" firstprivate({t})"), "firstprivate")


def missing_lastprivate(draw: Draw) -> Sketch:
    """The value of the last iteration is needed after the loop."""
    a, b, x = draw.array(), draw.array(), draw.name()
    body = [f"{x} = {draw.term(f'{a}[i]')};", f"{b}[i] = {x} + {draw.digit()};"]
    loop = draw.loop(HOLE, draw.header(), body[: draw.rng.randint(1, 2)])
    fills = (draw.unshared(x), f" lastprivate({x})")
    return draw.sketch([f"{draw.kind} {x} = 0;", *loop], fills, "lastprivate", result=x)


def counter(draw: Draw) -> Sketch:
    """The place to write to is counted up by all threads, or computed from the iteration."""
    spare = draw.digit()
    a, b, k = draw.array(), draw.array(draw.n + spare), draw.name()
    start = draw.rng.randint(0, spare)
    loop = draw.loop("", draw.header(), [f"{b}[{HOLE}] = {draw.term(f'{a}[i]')};"])
    return draw.sketch([f"int {k} = {start};", *loop], (f"{k}++", f"{k} + i"), "own index", result=k)


def worksharing(draw: Draw) -> Sketch:
    """Every thread runs the whole loop, or its part of it."""
    a, b = draw.array(), draw.array()
    forms = (f"{b}[i] += {draw.term(f'{a}[i]')};", f"{b}[i] = i * {draw.digit()};", f"{a}[i] *= {draw.digit()};")
    line = draw.rng.choice(forms)
    loop = [f"#pragma omp parallel{HOLE}", *braced(draw.header(), [line, *draw.extra()])]
    return draw.sketch(loop, ("", " for"), "for")


def _helper(draw: Draw, first: str, t: str) -> tuple[Lines, str]:
    """Return a function that computes by way of the variable `t`, and its name."""
    name, x = draw.function(), draw.name()
    statements = [f"{t} = {draw.term(x)};", f"return {t} + {draw.digit()};"]
    return [f"{draw.kind} {name}({draw.kind} {x}) {{", [first, *statements], "}"], name


def static_local(draw: Draw) -> Sketch:
    """A called function keeps its temporary in one place for all threads, or on the stack."""
    a, b, t = draw.array(), draw.array(), draw.name()
    before, helper = _helper(draw, f"{HOLE}{draw.kind} {t};", t)
    loop = draw.loop("", draw.header(), [f"{b}[i] = {helper}({a}[i]);"])
    return draw.sketch(loop, ("static ", ""), "no static", before=before)


def missing_threadprivate(draw: Draw) -> Sketch:
    """A called function computes by way of a global variable, one for all threads or one for each."""
    a, b, t = draw.array(), draw.array(), draw.name()
    helper_lines, helper = _helper(draw, "", t)
    before = [f"{draw.kind} {t};", HOLE, *helper_lines]
    loop = draw.loop("", draw.header(), [f"{b}[i] = {helper}({a}[i]);"])
    return draw.sketch(loop, ("", f"#pragma omp threadprivate({t})"), "threadprivate", before=before)


def thread_slots(draw: Draw) -> Sketch:
    """Threads add to elements that they choose by their number, two to one element or each its own."""
    threads = draw.rng.choice((4, 6, 8))
    a, part, k, s = draw.array(), draw.array(threads), draw.name(), draw.name()
    clash = draw.rng.choice((f"{k} / 2", f"{k} % 2", "0"))
    loop = [f"#pragma omp for{draw.schedule()}", draw.header(), [f"{part}[{HOLE}] += {draw.term(f'{a}[i]')};"]]
    region = [f"int {k} = omp_get_thread_num();", *loop]
    total = [f"{draw.kind} {s} = 0;", f"for (int i = 0; i < {threads}; i++)", [f"{s} += {part}[i];", f"{part}[i] = 0;"]]
    lines = [
        f"#pragma omp parallel num_threads({threads})",
        "{",
        region,
        "}",
        total[0],
        *braced(str(total[1]), total[2]),
    ]
    return draw.sketch(lines, (clash, k), "own slot", result=s)


SHARING: dict[str, Callable[[Draw], Sketch]] = {
    "missing_reduction": missing_reduction,
    "partial_reduction": partial_reduction,
    "wrong_reduction": wrong_reduction,
    "missing_private": missing_private,
    "partial_private": partial_private,
    "inner_counter": inner_counter,
    "missing_firstprivate": missing_firstprivate,
    "missing_lastprivate": missing_lastprivate,
    "counter": counter,
    "worksharing": worksharing,
    "static_local": static_local,
    "missing_threadprivate": missing_threadprivate,
    "thread_slots": thread_slots,
}
