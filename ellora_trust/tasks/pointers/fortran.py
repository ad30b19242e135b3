"""Pointer templates in Fortran: `=>` against `=`, arguments, sections, components.

In their docstrings `|` parts the alias from the copy. Two have an undefined alias: one AddressSanitizer sees, the
other (argument aliasing, Fortran 2018, 15.5.2.13) is by construction.
"""

from __future__ import annotations

from ellora_trust.tasks.pointers.draw import CONSTRUCTION, HOLE, Draw, Sketch


def associated(draw: Draw) -> Sketch:
    """`p => a | p = a`, where `p` points to `b`."""
    a, b, p = draw.value(), draw.value(), draw.pointer()
    declarations = [f"integer, target :: {a} = {draw.digit()}, {b} = {draw.digit()}", f"integer, pointer :: {p}"]
    written, printed = draw.ends(p, a)
    statements = [f"{p} => {b}", f"{p} {HOLE} {a}", *draw.change(written), draw.show(printed, b)]
    return draw.fortran(declarations, statements, ("=>", "="))


def pointer_chain(draw: Draw) -> Sketch:
    """`q => p | allocate(q, source=p)`: a second pointer to `a`, or to a copy."""
    a, p, q = draw.value(), draw.pointer(), draw.pointer()
    declarations = [f"integer, target :: {a} = {draw.digit()}", f"integer, pointer :: {p}, {q}"]
    written, printed = draw.ends(q, draw.rng.choice((a, p)))
    statements = [f"{p} => {a}", HOLE, *draw.change(written), draw.show(printed, a)]
    return draw.fortran(declarations, statements, (f"{q} => {p}", f"allocate({q}, source={p})"))


def array_copy(draw: Draw) -> Sketch:
    """`p => a | p = a` on arrays, where `p` was allocated."""
    a, p, size = draw.value(), draw.pointer(), draw.rng.randint(2, 3)
    place = draw.rng.randint(1, size)
    declarations = [f"integer, target :: {a}({size}) = [{draw.digits(size)}]", f"integer, pointer :: {p}(:)"]
    written, printed = draw.ends(f"{p}({place})", f"{a}({place})")
    statements = [f"allocate({p}({size}))", f"{p} {HOLE} {a}", *draw.change(written), draw.show(printed)]
    return draw.fortran(declarations, statements, ("=>", "="))


def section(draw: Draw) -> Sketch:
    """`p => a(::2) | a(2:)`: the second element of a section is the third or another one of the array."""
    a, p = draw.value(), draw.pointer()
    sections = {"(::2)": 3, "(2:3)": 3, "(3:)": 4, "(:2)": 2, "(2::2)": 4, "(4:1:-1)": 3, "(4:2:-2)": 2}
    alias = draw.rng.choice(list(sections))
    copy = draw.rng.choice([form for form in sections if sections[form] != sections[alias]])
    declarations = [f"integer, target :: {a}(4) = [{draw.digits(4)}]", f"integer, pointer :: {p}(:)"]
    written, printed = draw.ends(f"{p}(2)", f"{a}({sections[alias]})")
    statements = [f"{p} => {a}{HOLE}", *draw.change(written), draw.show(printed)]
    return draw.fortran(declarations, statements, (alias, copy))


def component(draw: Draw) -> Sketch:
    """`pointer | allocatable` component: assignment shares what a pointer points to and copies what is allocated."""
    a, b, box, field = draw.value(), draw.value(), draw.struct(), draw.field()
    declarations = [f"type {box}\n  integer, {HOLE} :: {field}\nend type", f"type({box}) :: {a}, {b}"]
    written, printed = draw.ends(f"{b}%{field}", f"{a}%{field}")
    statements = [f"allocate({a}%{field})", f"{a}%{field} = {draw.digit()}", f"{b} = {a}", *draw.change(written)]
    return draw.fortran(declarations, [*statements, draw.show(printed)], ("pointer", "allocatable"))


def allocated(draw: Draw) -> Sketch:
    """`p => a | allocate(p, source=a)`, where `a` is allocatable."""
    a, p, size = draw.value(), draw.pointer(), draw.rng.randint(2, 3)
    place = draw.rng.randint(1, size)
    declarations = [f"integer, allocatable, target :: {a}(:)", f"integer, pointer :: {p}(:)"]
    written, printed = draw.ends(f"{p}({place})", f"{a}({place})")
    statements = [f"{a} = [{draw.digits(size)}]", HOLE, *draw.change(written), draw.show(printed)]
    return draw.fortran(declarations, statements, (f"{p} => {a}", f"allocate({p}, source={a})"))


def _subroutine(name: str, parameters: str, lines: list[str]) -> str:
    return "\n".join((f"subroutine {name}({parameters})", *(f"  {line}" for line in lines), "end subroutine"))


def by_reference(draw: Draw) -> Sketch:
    """`integer :: x | integer, value :: x` in a subroutine that changes its argument."""
    a, x, f = draw.value(), draw.value(), draw.function()
    procedure = _subroutine(f, x, [f"integer{HOLE} :: {x}", *draw.change(x)])
    more = draw.change(a) if draw.rng.random() < 0.5 else []
    statements = [*more, f"call {f}({a})", draw.show(a)]
    return draw.fortran([f"integer :: {a} = {draw.digit()}"], statements, ("", ", value"), procedures=[procedure])


def associate_name(draw: Draw) -> Sketch:
    """`associate (x => a) | associate (x => (a))`: a name for the variable or for its value."""
    a, b, x = draw.value(), draw.value(), draw.value()
    block = "\n".join((f"associate ({x} => {HOLE})", *(f"  {line}" for line in draw.change(a)), f"  {b} = {x}"))
    statements = [f"{block}\nend associate", draw.show(b, a)]
    return draw.fortran([f"integer :: {a} = {draw.digit()}, {b}"], statements, (a, f"({a})"))


def saved(draw: Draw) -> Sketch:
    """`integer :: x = 3 | integer :: x; x = 3`: an initialiser in a procedure saves the variable between calls."""
    a, x, y, f = draw.value(), draw.value(), draw.value(), draw.function()
    start = draw.digit()
    lines = [f"integer :: {y}", HOLE, *draw.change(x), f"{y} = {x}"]
    fills = (f"integer :: {x} = {start}", f"integer :: {x}; {x} = {start}")
    statements = [f"call {f}({a})", f"call {f}({a})", draw.show(a)]
    return draw.fortran([f"integer :: {a}"], statements, fills, procedures=[_subroutine(f, y, lines)])


def equivalent(draw: Draw) -> Sketch:
    """`equivalence (a, b) | equivalence (a, c)`."""
    a, b, c = draw.value(), draw.value(), draw.value()
    declarations = [f"integer :: {a}, {b}, {c}", f"equivalence ({a}, {HOLE})"]
    setup = [f"{name} = {draw.digit()}" for name in (c, b, a)]
    written, printed = draw.ends(a, b)
    return draw.fortran(declarations, [*setup, *draw.change(written), draw.show(printed, c)], (b, c))


def deallocated(draw: Draw) -> Sketch:
    """`q => p | allocate(q, source=p)`, then `deallocate(p)`."""
    a, p, q = draw.value(), draw.pointer(), draw.pointer()
    declarations = [f"integer :: {a}", f"integer, pointer :: {p}, {q}"]
    setup = [f"allocate({p})", f"{p} = {draw.digit()}", HOLE, *draw.change(q), f"deallocate({p})"]
    # The Fortran library that prints is not instrumented, so the program itself must read what was freed.
    statements = [*setup, f"{a} = {q}", draw.show(a)]
    fills = (f"{q} => {p}", f"allocate({q}, source={p})")
    return draw.fortran(declarations, statements, fills, report="heap-use-after-free")


def same_argument(draw: Draw) -> Sketch:
    """`call f(a, a) | call f(a, (a))`, where `f` changes its first argument and then reads its second."""
    a, x, y, f = draw.value(), draw.value(), draw.value(), draw.function()
    lines = [f"integer :: {x}, {y}", *draw.change(x), f"{x} = {x} + {y}"]
    statements = [f"call {f}({a}, {HOLE})", draw.show(a)]
    procedure = _subroutine(f, f"{x}, {y}", lines)
    declarations = [f"integer :: {a} = {draw.digit()}"]
    return draw.fortran(declarations, statements, (a, f"({a})"), procedures=[procedure], report=CONSTRUCTION)


FORTRAN_TEMPLATES = {
    f"fortran_{template.__name__}": template
    for template in (
        associated,
        pointer_chain,
        array_copy,
        section,
        component,
        allocated,
        by_reference,
        associate_name,
        saved,
        equivalent,
        deallocated,
        same_argument,
    )
}
