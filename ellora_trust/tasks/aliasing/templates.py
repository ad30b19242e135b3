"""Aliasing templates on names, containers and arrays; for functions and classes see `aliasing_scopes`.

Every template takes a `Draw` and returns a `Sketch`. In their docstrings `|` parts the alias from the copy.
"""

from __future__ import annotations

from ellora_trust.tasks.aliasing.draw import ARRAY_MUTATIONS, DEEP_COPIES, DICT_MUTATIONS, HOLE, Draw, Sketch


def assign(draw: Draw) -> Sketch:
    """`b = a | b = a[:]`, anywhere along a chain of names."""
    first = draw.name()
    links, last = draw.chain(first, draw.hops)
    cut = draw.rng.randrange(draw.hops)
    target, origin = links[cut].split(" = ")
    links[cut] = f"{target} = {HOLE}"
    mutated, printed = draw.ends(first, last)
    statements = [f"{first} = {draw.numbers()}", *links, *draw.mutate(mutated, printed)]
    return draw.sketch(statements, printed, (origin, draw.copied(origin)))


def rebind(draw: Draw) -> Sketch:
    """`b[:] = [4] | b = [4]`: mutating an object against rebinding a name."""
    setup, first, last = draw.source()
    links, new = draw.chain(last, 1)
    draw.record("assign")
    more = draw.mutate(new, first, count=draw.n_mutations - 1)
    statements = [*setup, *links, f"{new}{HOLE} = {draw.numbers()}", *more]
    return draw.sketch(statements, first, ("[:]", ""))


def augmented(draw: Draw) -> Sketch:
    """`b += [4] | b = b + [4]`."""
    setup, first, last = draw.source()
    links, new = draw.chain(last, 1)
    draw.record("iadd")
    more = draw.mutate(new, first, count=draw.n_mutations - 1)
    statements = [*setup, *links, f"{new} {HOLE} [{draw.digit()}]", *more]
    return draw.sketch(statements, first, ("+=", f"= {new} +"))


def swap(draw: Draw) -> Sketch:
    """`c = a | c = a[:]`, then `a, b = b, a`: the list that c names is now called b."""
    setup, first, last = draw.source()
    other, kept = draw.name(), draw.name()
    mutated, printed = draw.ends(other, kept)
    swapped = [f"{kept} = {HOLE}", f"{other} = {draw.numbers()}", f"{first}, {other} = {other}, {first}"]
    statements = [*setup, *swapped, *draw.mutate(mutated, printed)]
    return draw.sketch(statements, printed, (last, draw.copied(last)))


def _stored(draw: Draw, container: str, value: str, item: str, banned: tuple[str, ...] = ()) -> Sketch:
    """Store a list in a container: `container = value` with the hole, read back as `item`."""
    setup, first, last = draw.source()
    mutated, printed = draw.ends(first, item)
    statements = [*setup, f"{container} = {value}", *draw.mutate(mutated, printed, banned=banned)]
    return draw.sketch(statements, printed, (last, draw.copied(last)))


def dict_value(draw: Draw) -> Sketch:
    """`d = {"k": a} | d = {"k": a[:]}`."""
    name, key = draw.name(), draw.name()
    return _stored(draw, name, f'{{"{key}": {HOLE}}}', f'{name}["{key}"]')


def tuple_item(draw: Draw) -> Sketch:
    """`t = (a, [5]) | t = (a[:], [5])`: a tuple is immutable, the list in it is not."""
    name, place = draw.name(), draw.rng.randint(0, 1)
    other = f"[{draw.digit()}]"
    items = (HOLE, other) if place == 0 else (other, HOLE)
    # `t[0] += [4]` extends the list and then raises TypeError.
    return _stored(draw, name, f"({', '.join(items)})", f"{name}[{place}]", banned=("iadd",))


def list_item(draw: Draw) -> Sketch:
    """`rows = [[5]]`, `rows.append(a) | rows.append(a[:])`."""
    setup, first, last = draw.source()
    rows = draw.name()
    mutated, printed = draw.ends(first, f"{rows}[1]")
    filled = [f"{rows} = [[{draw.digit()}]]", f"{rows}.append({HOLE})"]
    statements = [*setup, *filled, *draw.mutate(mutated, printed)]
    return draw.sketch(statements, printed, (last, draw.copied(last)))


def dict_alias(draw: Draw) -> Sketch:
    """`e = d | e = dict(d)`."""
    keys = (draw.name(), draw.name())
    setup, first, last = draw.source(f'{{"{keys[0]}": {draw.digit()}, "{keys[1]}": {draw.digit()}}}')
    new = draw.name()
    mutated, printed = draw.ends(first, new)
    changes = draw.mutate(mutated, printed, table=DICT_MUTATIONS, keys=keys)
    fills = (last, draw.copied(last, ("dict({x})", "{x}.copy()", "copy.copy({x})", "{{**{x}}}")))
    return draw.sketch([*setup, f"{new} = {HOLE}", *changes], f"list({printed}.values())", fills)


def from_keys(draw: Draw) -> Sketch:
    """`dict.fromkeys(["x", "y"], [1]) | {k: [1] for k in ["x", "y"]}`: one list or one for each key."""
    name, loop = draw.name(), draw.name()
    keys = (draw.name(), draw.name())
    value, names = draw.numbers(), f'["{keys[0]}", "{keys[1]}"]'
    links, end = draw.chain(f'{name}["{keys[0]}"]', draw.hops - 1)
    mutated, printed = draw.ends(f'{name}["{keys[1]}"]', end)
    fills = (f"dict.fromkeys({names}, {value})", f"{{{loop}: {value} for {loop} in {names}}}")
    return draw.sketch([f"{name} = {HOLE}", *links, *draw.mutate(mutated, printed)], printed, fills)


def nested_row(draw: Draw) -> Sketch:
    """`r = g[0] | r = g[0][:]`."""
    grid, place = draw.name(), draw.rng.randint(0, 1)
    row = f"{grid}[{place}]"
    new = draw.name()
    links, end = draw.chain(new, draw.hops - 1)
    mutated, printed = draw.ends(row, end)
    setup = [f"{grid} = [{draw.numbers()}, {draw.numbers()}]", f"{new} = {HOLE}", *links]
    return draw.sketch([*setup, *draw.mutate(mutated, printed)], printed, (row, draw.copied(row)))


def shallow_deep(draw: Draw) -> Sketch:
    """`h = copy.copy(g) | h = copy.deepcopy(g)`: a shallow copy still shares the rows."""
    place = draw.rng.randint(0, 1)
    setup, first, last = draw.source(f"[{draw.numbers()}, {draw.numbers()}]")
    new = draw.name()
    mutated, printed = draw.ends(f"{first}[{place}]", f"{new}[{place}]")
    statements = [*setup, f"{new} = {HOLE}", *draw.mutate(mutated, printed)]
    shallow = draw.copied(last, ("copy.copy({x})", "{x}[:]", "list({x})", "{x}.copy()"))
    return draw.sketch(statements, printed, (shallow, draw.copied(last, DEEP_COPIES)))


def multiplied(draw: Draw) -> Sketch:
    """`g = [[1, 2]] * 2 | g = [[1, 2] for _ in range(2)]`: one row many times or many rows."""
    grid, row, count = draw.name(), draw.numbers(), draw.rng.randint(2, 4)
    links, end = draw.chain(f"{grid}[0]", draw.hops - 1)
    mutated, printed = draw.ends(f"{grid}[{count - 1}]", end)
    fills = (f"[{row}] * {count}", f"[{row} for _ in range({count})]")
    return draw.sketch([f"{grid} = {HOLE}", *links, *draw.mutate(mutated, printed)], printed, fills)


def loop_rows(draw: Draw) -> Sketch:
    """`for r in g: ... | for r in copy.deepcopy(g): ...`: the loop variable names the rows themselves."""
    setup, first, last = draw.source(f"[{draw.numbers()}, {draw.numbers()}]")
    row = draw.name()
    body = "".join(f"\n    {line}" for line in draw.mutate(row))
    fills = (last, draw.copied(last, DEEP_COPIES))
    printed = f"{first}[{draw.rng.randint(0, 1)}]"
    return draw.sketch([*setup, f"for {row} in {HOLE}:{body}"], printed, fills)


def array_view(draw: Draw) -> Sketch:
    """`b = a[1:3] | b = a[1:3].copy()`: basic slices, reshapes and transposes of an array are views."""
    setup, first, last = draw.source(f"np.array({draw.numbers(draw.rng.randint(3, 4))})")
    view = draw.rng.choice(("[1:3]", "[:2]", "[1:]", "[::-1]", "[:]", ".ravel()", ".reshape(-1)", ".T"))
    new = draw.name()
    mutated, printed = draw.ends(first, new)
    statements = [*setup, f"{new} = {HOLE}", *draw.mutate(mutated, printed, table=ARRAY_MUTATIONS)]
    copied = draw.rng.choice((f"{last}{view}.copy()", f"np.array({last}{view})"))
    return draw.sketch(statements, printed, (f"{last}{view}", copied))


def array_inplace(draw: Draw) -> Sketch:
    """`b += 1 | b = b + 1` on an array."""
    setup, first, last = draw.source(f"np.array({draw.numbers(3)})")
    links, new = draw.chain(last, 1)
    sign, kind = draw.rng.choice((("+", "iadd"), ("-", "isub"), ("*", "imul")))
    draw.record(kind)
    more = draw.mutate(new, first, count=draw.n_mutations - 1, table=ARRAY_MUTATIONS)
    statements = [*setup, *links, f"{new} {HOLE} {draw.rng.randint(2, 3)}", *more]
    return draw.sketch(statements, first, (f"{sign}=", f"= {new} {sign}"))
