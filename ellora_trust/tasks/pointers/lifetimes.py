"""Pointer templates in C whose alias is undefined: objects that have ended, bounds, and `restrict`.

The copy is defined in every pair. What the sanitizer must say of the alias stands in `Sketch.report`. No sanitizer
sees a violated `restrict` (C17 6.7.3.1): there the truth is by construction.
"""

from __future__ import annotations

from ellora_trust.tasks.pointers.draw import CONSTRUCTION, HOLE, Draw, Sketch


def returned_local(draw: Draw) -> Sketch:
    """`int x | static int x` in a function that returns a pointer to `x`."""
    a, x, p, q, f = draw.value(), draw.value(), draw.pointer(), draw.pointer(), draw.function()
    links, last = draw.chain(q)
    outside = [f"int *{f}(void) {{ {HOLE}int {x} = {draw.digit()}; int *{p} = &{x}; return {p}; }}"]
    setup = [f"int {a} = {draw.digit()};", f"int *{q} = {f}();", *links, *draw.change(a)]
    shown = draw.show(f"*{last}", a)
    return draw.c([*setup, shown], ("", "static "), outside=outside, report="stack-use-after-return")


def left_scope(draw: Draw) -> Sketch:
    """`p = &b | *p = b`, where `b` lives in an inner block and `*p` is read after it."""
    a, b, p = draw.value(), draw.value(), draw.pointer()
    draw.record("set")
    links, last = draw.chain(p)
    inner = "\n".join(f"    {line}" for line in (f"int {b} = {draw.digit()};", f"{HOLE};"))
    setup = [f"int {a} = {draw.digit()};", *draw.change(a), f"int *{p} = &{a};", f"{{\n{inner}\n}}", *links]
    return draw.c([*setup, draw.show(f"*{last}")], (f"{p} = &{b}", f"*{p} = {b}"), report="stack-use-after-scope")


def freed(draw: Draw) -> Sketch:
    """`int *q = p | &b`, then `free(p)`, where `b` is a copy of `*p`."""
    b, p, q = draw.value(), draw.pointer(), draw.pointer()
    links, last = draw.chain(q)
    setup = [f"int *{p} = malloc(sizeof *{p});", f"*{p} = {draw.digit()};", f"int {b} = *{p};", f"int *{q} = {HOLE};"]
    setup += [*links, *draw.change(b), f"free({p});"]
    return draw.c([*setup, draw.show(f"*{last}", b)], (p, f"&{b}"), report="heap-use-after-free")


def freed_twice(draw: Draw) -> Sketch:
    """`int *q = p | malloc(sizeof *p)`, then both are freed."""
    a, p, q = draw.value(), draw.pointer(), draw.pointer()
    setup = [
        f"int *{p} = malloc(sizeof *{p});",
        f"int *{q} = {HOLE};",
        f"*{p} = {draw.digit()};",
        f"*{q} = {draw.digit()};",
    ]
    setup += [f"int {a} = *{draw.rng.choice((p, q))};", *draw.change(a)]
    first, second = draw.ends(p, q)
    statements = [*setup, f"free({first});", f"free({second});", draw.show(a)]
    return draw.c(statements, (p, f"malloc(sizeof *{p})"), report="double-free")


def reallocated(draw: Draw) -> Sketch:
    """`*q | *p` after `p = realloc(p, ...)`, where `q` is the old value of `p`."""
    p, q = draw.pointer(), draw.pointer()
    links, last = draw.chain(q)
    new = draw.rng.randint(2, 4)
    setup = [f"int *{p} = malloc(sizeof *{p});", f"*{p} = {draw.digit()};", f"int *{q} = {p};", *links]
    setup += [f"{p} = realloc({p}, {new} * sizeof *{p});", *draw.change(f"*{p}")]
    return draw.c([*setup, draw.show(HOLE)], (f"*{last}", f"*{p}"), report="heap-use-after-free")


def past_end(draw: Draw) -> Sketch:
    """`int *p = a + 2 | a + 1` in an array of three, and `p[1]` is read."""
    a, p, size = draw.value(), draw.pointer(), draw.rng.randint(2, 4)
    links, last = draw.chain(p)
    spell = draw.rng.choice(("{a} + {i}", "&{a}[{i}]"))
    read = draw.rng.choice((f"{last}[1]", f"*({last} + 1)"))
    setup = [f"int {a}[{size}] = {{{draw.digits(size)}}};", f"int *{p} = {HOLE};", *links, *draw.change(f"*{last}")]
    fills = (spell.format(a=a, i=size - 1), spell.format(a=a, i=size - 2))
    return draw.c([*setup, draw.show(read)], fills, report="stack-buffer-overflow")


def _restricted(draw: Draw, first: str, second: str) -> tuple[str, str]:
    """Return a function that writes through both parameters and then reads the first, and its name.

    Args:
        draw: The choices.
        first: Before the name of the first parameter, such as "restrict ".
        second: The same for the second.
    """
    f, p, q = draw.function(), draw.pointer(), draw.pointer()
    body = " ".join((*draw.change(f"*{p}"), *draw.change(f"*{q}")))
    result = draw.rng.choice((f"*{p}", f"*{p} + *{q}"))
    return f"int {f}(int *{first}{p}, int *{second}{q}) {{ {body} return {result}; }}", f


def restrict_call(draw: Draw) -> Sketch:
    """`f(&a, &a) | f(&a, &b)`, where one parameter of `f` or both are `restrict`."""
    a, b = draw.value(), draw.value()
    marks = draw.rng.choice((("restrict ", "restrict "), ("restrict ", ""), ("", "restrict ")))
    function, f = _restricted(draw, *marks)
    setup = [f"int {a} = {draw.digit()}, {b} = {draw.digit()};"]
    shown = draw.show(f"{f}(&{a}, {HOLE})")
    return draw.c([*setup, shown], (f"&{a}", f"&{b}"), outside=[function], report=CONSTRUCTION)


def restrict_keyword(draw: Draw) -> Sketch:
    """`int *restrict p | int *p` in a function that is called with the same pointer twice."""
    a = draw.value()
    function, f = _restricted(draw, HOLE, "")
    shown = draw.show(f"{f}(&{a}, &{a})")
    statements = [f"int {a} = {draw.digit()};", shown]
    return draw.c(statements, ("restrict ", ""), outside=[function], report=CONSTRUCTION)


C_UNDEFINED = {
    template.__name__: template
    for template in (
        returned_local,
        left_scope,
        freed,
        freed_twice,
        reallocated,
        past_end,
        restrict_call,
        restrict_keyword,
    )
}
