"""Aliasing templates on functions and classes, and the table of all templates.

Every template takes a `Draw` and returns a `Sketch`. In their docstrings `|` parts the alias from the copy.
"""

from __future__ import annotations

from collections.abc import Callable

from ellora_trust.tasks.aliasing import templates as values
from ellora_trust.tasks.aliasing.draw import HOLE, Draw, Sketch


def _indented(lines: list[str], depth: int = 1) -> str:
    return "".join(f"\n{'    ' * depth}{line}" for line in lines)


def argument(draw: Draw) -> Sketch:
    """`f(a) | f(a[:])`, where f changes its argument."""
    function, parameter = draw.function(), draw.name()
    body = _indented(draw.mutate(parameter))
    setup, first, last = draw.source()
    statements = [f"def {function}({parameter}):{body}", *setup, f"{function}({HOLE})"]
    return draw.sketch(statements, first, (last, draw.copied(last)))


def parameter_rebind(draw: Draw) -> Sketch:
    """`x += [4] | x = x + [4]` inside a function, or `x[:] = [4] | x = [4]`."""
    function, parameter = draw.function(), draw.name()
    if draw.rng.random() < 0.5:
        draw.record("iadd")
        line, fills = f"{parameter} {HOLE} [{draw.digit()}]", ("+=", f"= {parameter} +")
    else:
        draw.record("assign")
        line, fills = f"{parameter}{HOLE} = {draw.numbers()}", ("[:]", "")
    body = _indented([line, *draw.mutate(parameter, count=draw.n_mutations - 1)])
    setup, first, last = draw.source()
    statements = [f"def {function}({parameter}):{body}", *setup, f"{function}({last})"]
    return draw.sketch(statements, first, fills)


def returned(draw: Draw) -> Sketch:
    """`return x | return x[:]`, then `b = f(a)`."""
    function, parameter, new = draw.function(), draw.name(), draw.name()
    setup, first, last = draw.source()
    mutated, printed = draw.ends(first, new)
    define = f"def {function}({parameter}):\n    return {HOLE}"
    statements = [define, *setup, f"{new} = {function}({last})", *draw.mutate(mutated, printed)]
    return draw.sketch(statements, printed, (parameter, draw.copied(parameter)))


def default_none(draw: Draw) -> Sketch:
    """`def f(v, out=[]) | def f(v, out=None)`: a mutable default is one list for all calls."""
    function, value, out = draw.function(), draw.name(), draw.name()
    draw.hops = 1
    kind = draw.rng.choice(("append", "insert", "iadd"))
    line = {"append": "{o}.append({v})", "insert": "{o}.insert(0, {v})", "iadd": "{o} += [{v}]"}[kind]
    draw.record(kind)
    body = [f"if {out} is None:", f"    {out} = []", line.format(o=out, v=value), f"return {out}"]
    define = f"def {function}({value}, {out}={HOLE}):{_indented(body)}"
    calls = [f"{function}({draw.digit()})" for _ in range(draw.rng.randint(1, 3))]
    if draw.rng.random() < 0.5:
        new = draw.name()
        return draw.sketch([define, *calls, f"{new} = {function}({draw.digit()})"], new, ("[]", "None"))
    return draw.sketch([define, *calls], f"{function}({draw.digit()})", ("[]", "None"))


def default_bound(draw: Draw) -> Sketch:
    """`def f(x=a) | def f(x=a[:])`: a default is evaluated once, where the function is defined."""
    function, parameter = draw.function(), draw.name()
    setup, first, last = draw.source()
    define = f"def {function}({parameter}={HOLE}):{_indented(draw.mutate(parameter))}"
    return draw.sketch([*setup, define, f"{function}()"], first, (last, draw.copied(last)))


def closure(draw: Draw) -> Sketch:
    """`g = make(a) | g = make(a[:])`, where the function that make returns changes its list."""
    outer, inner, parameter, new = draw.function(), draw.function(), draw.name(), draw.name()
    # An augmented assignment would make the name local to the inner function.
    body = _indented(draw.mutate(parameter, banned=("iadd",)), depth=2)
    define = f"def {outer}({parameter}):\n    def {inner}():{body}\n    return {inner}"
    setup, first, last = draw.source()
    statements = [define, *setup, f"{new} = {outer}({HOLE})", f"{new}()"]
    return draw.sketch(statements, first, (last, draw.copied(last)))


def attribute(draw: Draw) -> Sketch:
    """`self.x = x | self.x = list(x)`."""
    cls, field, new = draw.class_name(), draw.name(), draw.name()
    setup, first, last = draw.source()
    mutated, printed = draw.ends(first, f"{new}.{field}")
    define = f"class {cls}:\n    def __init__(self, {field}):\n        self.{field} = {HOLE}"
    statements = [define, *setup, f"{new} = {cls}({last})", *draw.mutate(mutated, printed)]
    return draw.sketch(statements, printed, (field, draw.copied(field)))


def instance(draw: Draw) -> Sketch:
    """`q = p | q = copy.copy(p)`, then `q.x = ...`: two names of one object or two objects."""
    cls, field, new = draw.class_name(), draw.name(), draw.name()
    setup, first, last = draw.source(f"{cls}()")
    mutated, printed = draw.ends(first, new)
    draw.record("attribute")
    more = draw.mutate(f"{mutated}.{field}", f"{printed}.{field}", count=draw.n_mutations - 1)
    statements = [f"class {cls}:\n    {field} = {draw.numbers()}", *setup, f"{new} = {HOLE}"]
    statements += [f"{mutated}.{field} = {draw.numbers()}", *more]
    copied = draw.copied(last, ("copy.copy({x})", "copy.deepcopy({x})", f"{cls}()"))
    return draw.sketch(statements, f"{printed}.{field}", (last, copied))


def class_attribute(draw: Draw) -> Sketch:
    """`q.x += [4] | q.x = q.x + [4]`, where x belongs to the class and p is another instance."""
    cls, field, other, new = draw.class_name(), draw.name(), draw.name(), draw.name()
    links, end = draw.chain(f"{other}.{field}", draw.hops - 1)
    draw.record("iadd")
    changed = f"{new}.{field}"
    more = draw.mutate(changed, end, count=draw.n_mutations - 1)
    setup = [f"class {cls}:\n    {field} = {draw.numbers()}", f"{other} = {cls}()", f"{new} = {cls}()"]
    statements = [*setup, *links, f"{changed} {HOLE} [{draw.digit()}]", *more]
    return draw.sketch(statements, end, ("+=", f"= {changed} +"))


_ALL: tuple[Callable[[Draw], Sketch], ...] = (
    *(values.assign, values.rebind, values.augmented, values.swap),
    *(values.dict_value, values.tuple_item, values.list_item, values.dict_alias, values.from_keys),
    *(values.nested_row, values.shallow_deep, values.multiplied, values.loop_rows),
    *(values.array_view, values.array_inplace),
    *(argument, parameter_rebind, returned, default_none, default_bound, closure),
    *(attribute, instance, class_attribute),
)
TEMPLATES: dict[str, Callable[[Draw], Sketch]] = {template.__name__: template for template in _ALL}
