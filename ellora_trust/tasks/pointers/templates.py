"""Pointer templates in C whose members are both defined; for those with an undefined one see `pointers_lifetimes`.

Every template takes a `Draw` and returns a `Sketch`. In their docstrings `|` parts the alias from the copy: in the
alias the write reaches the object that is printed, in the copy it reaches another one.
"""

from __future__ import annotations

from ellora_trust.tasks.pointers.draw import HOLE, Draw, Sketch


def pointed(draw: Draw) -> Sketch:
    """`int *p = &a | &b`, where `b` is a copy of `a`."""
    a, b, p = draw.value(), draw.value(), draw.pointer()
    links, last = draw.chain(p)
    written, printed = draw.ends(f"*{last}", a)
    setup = [f"int {a} = {draw.digit()};", f"int {b} = {a};", f"int *{p} = {HOLE};", *links]
    return draw.c([*setup, *draw.change(written, b), draw.show(printed, b)], (f"&{a}", f"&{b}"))


def constant(draw: Draw) -> Sketch:
    """`const int *p = &a | &b`: a pointer to const sees what others write."""
    a, b, p = draw.value(), draw.value(), draw.pointer()
    links, last = draw.chain(p, "const int")
    setup = [f"int {a} = {draw.digit()};", f"int {b} = {a};", f"const int *{p} = {HOLE};", *links]
    return draw.c([*setup, *draw.change(a), draw.show(f"*{last}", a)], (f"&{a}", f"&{b}"))


def double_pointer(draw: Draw) -> Sketch:
    """`int **r = &p | &q`, then `*r = &b` sets one of two pointers to `a`."""
    a, b, p, q, r = draw.value(), draw.value(), draw.pointer(), draw.pointer(), draw.pointer()
    setup = [f"int {a} = {draw.digit()}, {b} = {draw.digit()};", f"int *{p} = &{a};", f"int *{q} = {p};"]
    setup += [f"int **{r} = {HOLE};", f"*{r} = &{b};"]
    printed, other = draw.ends(a, b)
    return draw.c([*setup, *draw.change(f"*{draw.rng.choice((p, q))}"), draw.show(printed, other)], (f"&{p}", f"&{q}"))


def array_pointer(draw: Draw) -> Sketch:
    """`int *p = a | b`: an array decays to a pointer to its first element; `b` holds a copy."""
    a, b, p, size = draw.value(), draw.value(), draw.pointer(), draw.rng.randint(2, 3)
    place = draw.rng.randrange(size)
    links, last = draw.chain(p)
    written, printed = draw.ends(f"{last}[{place}]", f"{a}[{place}]")
    setup = [f"int {a}[{size}] = {{{draw.digits(size)}}};", f"int {b}[{size}];", f"memcpy({b}, {a}, sizeof {a});"]
    setup += [f"int *{p} = {HOLE};", *links]
    return draw.c([*setup, *draw.change(written), draw.show(printed, f"{b}[{place}]")], (a, b))


def array_argument(draw: Draw) -> Sketch:
    """`f(a) | f(x.v)`: an array parameter is a pointer; a structure that holds an array is copied."""
    a, p, f, size = draw.value(), draw.pointer(), draw.function(), draw.rng.randint(2, 3)
    b, box, field = draw.value(), draw.struct(), draw.field()
    place = draw.rng.randrange(size)
    parameter = draw.rng.choice((f"int {p}[]", f"int *{p}", f"int {p}[{size}]"))
    body = " ".join(draw.change(f"{p}[{place}]"))
    outside = [f"struct {box} {{ int {field}[{size}]; }};", f"void {f}({parameter}) {{ {body} }}"]
    setup = [f"struct {box} {a} = {{{{{draw.digits(size)}}}}};", f"struct {box} {b} = {a};", f"{f}({HOLE}.{field});"]
    shown = draw.show(f"{a}.{field}[{place}]", f"{b}.{field}[{place}]")
    return draw.c([*setup, shown], (a, b), outside=outside)


def by_value(draw: Draw) -> Sketch:
    """`g(&a) | f(a)`: a structure passed by pointer and by value."""
    a, b, p, box, field = draw.value(), draw.value(), draw.pointer(), draw.struct(), draw.field()
    f, g = draw.function(), draw.function()
    new = draw.digit()
    draw.record("set")
    functions = [
        f"void {f}(struct {box} {b}) {{ {b}.{field} = {new}; }}",
        f"void {g}(struct {box} *{p}) {{ {p}->{field} = {new}; }}",
    ]
    draw.rng.shuffle(functions)
    outside = [f"struct {box} {{ int {field}; }};", *functions]
    more = draw.change(f"{a}.{field}") if draw.rng.random() < 0.3 else []
    setup = [f"struct {box} {a} = {{{draw.digit()}}};", *more, f"{HOLE};"]
    return draw.c([*setup, draw.show(f"{a}.{field}")], (f"{g}(&{a})", f"{f}({a})"), outside=outside)


def struct_copy(draw: Draw) -> Sketch:
    """`struct Box *p = &a | &b`, where `b = a` copied the structure."""
    a, b, p, box, field = draw.value(), draw.value(), draw.pointer(), draw.struct(), draw.field()
    links, last = draw.chain(p, f"struct {box}")
    written, printed = draw.ends(f"{last}->{field}", f"{a}.{field}")
    setup = [f"struct {box} {a} = {{{draw.digit()}}};", f"struct {box} {b} = {a};"]
    setup += [f"struct {box} *{p} = {HOLE};", *links, *draw.change(written)]
    shown = draw.show(printed, f"{b}.{field}")
    return draw.c([*setup, shown], (f"&{a}", f"&{b}"), outside=[f"struct {box} {{ int {field}; }};"])


def linked(draw: Draw) -> Sketch:
    """`struct Node c = {4, &a | &b}`: a list whose next node is `a` or its copy."""
    a, b, c, box, field, link = *(draw.value() for _ in range(3)), draw.struct(), draw.field(), draw.pointer()
    written, printed = draw.ends(f"{c}.{link}->{field}", f"{a}.{field}")
    setup = [f"struct {box} {a} = {{{draw.digit()}, 0}};", f"struct {box} {b} = {a};"]
    setup += [f"struct {box} {c} = {{{draw.digit()}, {HOLE}}};", *draw.change(written, f"{c}.{field}")]
    outside = [f"struct {box} {{ int {field}; struct {box} *{link}; }};"]
    return draw.c([*setup, draw.show(printed, f"{c}.{field}")], (f"&{a}", f"&{b}"), outside=outside)


def shared_member(draw: Draw) -> Sketch:
    """`struct Box y = x | {&b}`: copying a structure copies its pointer and not what that points to."""
    a, b, x, y, box, field = *(draw.value() for _ in range(4)), draw.struct(), draw.field()
    written, printed = draw.ends(f"*{y}.{field}", draw.rng.choice((a, f"*{x}.{field}")))
    setup = [f"int {a} = {draw.digit()};", f"int {b} = {a};", f"struct {box} {x} = {{&{a}}};"]
    setup += [f"struct {box} {y} = {HOLE};", *draw.change(written)]
    return draw.c([*setup, draw.show(printed, b)], (x, f"{{&{b}}}"), outside=[f"struct {box} {{ int *{field}; }};"])


def arithmetic(draw: Draw) -> Sketch:
    """`int *p = a + 1 | a + 2`, and the write goes to `p[1]`."""
    a, p = draw.value(), draw.pointer()
    start, other = draw.rng.sample(range(3), 2)
    spell = draw.rng.choice(("{a} + {i}", "&{a}[{i}]"))
    target = draw.rng.choice((f"{p}[1]", f"*({p} + 1)"))
    written, printed = draw.ends(target, f"{a}[{start + 1}]")
    setup = [f"int {a}[4] = {{{draw.digits(4)}}};", f"int *{p} = {HOLE};", *draw.change(written)]
    fills = (spell.format(a=a, i=start), spell.format(a=a, i=other))
    return draw.c([*setup, draw.show(printed)], fills)


def increment(draw: Draw) -> Sketch:
    """`(*p)++ | p++`: the object or the pointer moves on."""
    a, p, size = draw.value(), draw.pointer(), draw.rng.randint(2, 3)
    links, last = draw.chain(p)
    fills = draw.rng.choice(
        ((f"(*{last})++", f"{last}++"), (f"++*{last}", f"++{last}"), (f"*{last} += 1", f"{last} += 1"))
    )
    setup = [f"int {a}[{size}] = {{{draw.digits(size)}}};", f"int *{p} = {a};", *links, f"{HOLE};"]
    printed, other = draw.ends(f"{a}[0]", f"{a}[1]")
    return draw.c([*setup, *draw.change(f"*{last}"), draw.show(printed, other)], fills)


def swap(draw: Draw) -> Sketch:
    """`int t = *p; *p = *q; *q = t; | int *t = p; p = q; q = t;`: objects or only the pointers to them."""
    a, b, p, q, f, kept = (
        *(draw.value() for _ in range(2)),
        draw.pointer(),
        draw.pointer(),
        draw.function(),
        draw.value(),
    )
    fills = (f"int {kept} = *{p}; *{p} = *{q}; *{q} = {kept};", f"int *{kept} = {p}; {p} = {q}; {q} = {kept};")
    draw.record("swap")
    more = draw.change(draw.rng.choice((a, b))) if draw.rng.random() < 0.5 else []
    setup = [f"int {a} = {draw.digit()}, {b} = {draw.digit()};", f"{f}(&{a}, &{b});", *more]
    printed, other = draw.ends(a, b)
    outside = [f"void {f}(int *{p}, int *{q}) {{ {HOLE} }}"]
    return draw.c([*setup, draw.show(printed, other)], fills, outside=outside)


def argument_order(draw: Draw) -> Sketch:
    """`f(&a, &b) | f(&b, &a)`, where `f` writes through its first parameter."""
    a, b, p, q, f = draw.value(), draw.value(), draw.pointer(), draw.pointer(), draw.function()
    sign = draw.rng.choice(("=", "+=", "*="))
    draw.record({"=": "set", "+=": "add", "*=": "multiply"}[sign])
    more = f" {draw.change(f'*{p}')[0]}" if draw.rng.random() < 0.4 else ""
    outside = [f"void {f}(int *{p}, int *{q}) {{ *{p} {sign} *{q};{more} }}"]
    setup = [f"int {a} = {draw.digit()}, {b} = {draw.digit()};", f"{f}({HOLE});"]
    return draw.c([*setup, draw.show(a, b)], (f"&{a}, &{b}", f"&{b}, &{a}"), outside=outside)


def same_argument(draw: Draw) -> Sketch:
    """`f(&a, &a) | f(&a, &b)`, where `f` reads its second parameter after writing through its first."""
    a, b, p, q, f = draw.value(), draw.value(), draw.pointer(), draw.pointer(), draw.function()
    body = " ".join((*draw.change(f"*{p}"), f"*{p} {draw.rng.choice(('+=', '='))} *{q};"))
    outside = [f"void {f}(int *{p}, int *{q}) {{ {body} }}"]
    setup = [f"int {a} = {draw.digit()};", f"int {b} = {a};", f"{f}(&{a}, {HOLE});"]
    return draw.c([*setup, draw.show(a, b)], (f"&{a}", f"&{b}"), outside=outside)


def row_pointers(draw: Draw) -> Sketch:
    """`int *p[2] = {a[0], a[0] | a[1]}`: two pointers to one row or to two."""
    a, p, place = draw.value(), draw.pointer(), draw.rng.randint(0, 1)
    written, printed = draw.ends(f"{p}[1][{place}]", draw.rng.choice((f"{a}[0][{place}]", f"{p}[0][{place}]")))
    setup = [f"int {a}[2][2] = {{{{{draw.digits(2)}}}, {{{draw.digits(2)}}}}};", f"int *{p}[2] = {{{a}[0], {HOLE}}};"]
    return draw.c([*setup, *draw.change(written), draw.show(printed, f"{a}[1][{place}]")], (f"{a}[0]", f"{a}[1]"))


def function_pointer(draw: Draw) -> Sketch:
    """`void (*h)(int *) = f | g`: one function writes through its parameter, the other to a local copy."""
    a, b, p, h = draw.value(), draw.value(), draw.pointer(), draw.pointer()
    f, g = draw.function(), draw.function()
    body = " ".join(draw.change(f"*{p}"))
    functions = [
        f"void {f}(int *{p}) {{ {body} }}",
        f"void {g}(int *{p}) {{ int {b} = *{p}; {p} = &{b}; {body} }}",
    ]
    draw.rng.shuffle(functions)
    setup = [f"int {a} = {draw.digit()};", f"void (*{h})(int *) = {HOLE};", f"{h}(&{a});"]
    return draw.c([*setup, draw.show(a)], (f, g), outside=functions)


def static_local(draw: Draw) -> Sketch:
    """`static int x = 3 | int x = 3`: one object for all calls or one for each."""
    a, b, x, f = draw.value(), draw.value(), draw.value(), draw.function()
    body = " ".join(draw.change(x))
    outside = [f"int {f}(void) {{ {HOLE}int {x} = {draw.digit()}; {body} return {x}; }}"]
    setup = [f"int {a} = {f}();", f"int {b} = {f}();"]
    return draw.c([*setup, draw.show(b, a)], ("static ", ""), outside=outside)


def global_name(draw: Draw) -> Sketch:
    """`x = 5 | int x = 5`: a function writes the global or a local of the same name."""
    x, p, f = draw.value(), draw.pointer(), draw.function()
    draw.record("set")
    links, last = draw.chain(p)
    outside = [f"int {x} = {draw.digit()};", f"void {f}(void) {{ {HOLE} = {draw.digit()}; }}"]
    before = draw.change(x) if draw.rng.random() < 0.5 else []
    setup = [f"int *{p} = &{x};", *links, *before, f"{f}();"]
    return draw.c([*setup, draw.show(f"*{last}")], (x, f"int {x}"), outside=outside)


def union_member(draw: Draw) -> Sketch:
    """`union | struct`: members that share their storage or have their own."""
    a, box, one, two = draw.value(), draw.struct(), draw.field(), draw.field()
    written, printed = draw.ends(f"{a}.{one}", f"{a}.{two}")
    draw.record("set")
    setup = [f"{box} {a};", f"{a}.{one} = {draw.digit()};", f"{a}.{two} = {draw.digit()};", *draw.change(written)]
    outside = [f"typedef {HOLE} {{ int {one}, {two}; }} {box};"]
    return draw.c([*setup, draw.show(printed, written)], ("union", "struct"), outside=outside)


C_DEFINED = {
    template.__name__: template
    for template in (
        pointed,
        constant,
        double_pointer,
        array_pointer,
        array_argument,
        by_value,
        struct_copy,
        linked,
        shared_member,
        arithmetic,
        increment,
        swap,
        argument_order,
        same_argument,
        row_pointers,
        function_pointer,
        static_local,
        global_name,
        union_member,
    )
}
