"""Race patterns of iterations that touch the same element: dependences, indices, strides, pointers.

sketch = DEPENDENCE["stencil"](Draw(random.Random(0)))
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

from ellora_trust.tasks.races.draw import HOLE, Draw, Lines, Sketch, braced


def _recurrence(draw: Draw, sign: str, name: str) -> Sketch:
    """An element is computed from a neighbour, of the same array or of another."""
    distance = draw.rng.randint(1, 4)
    a, b, c = draw.array(), draw.array(), draw.array()
    ends = (distance, draw.n) if sign == "-" else (0, draw.n - distance)
    read = f"{HOLE}[i {sign} {distance}]"
    form = draw.rng.choice(("{a}[i] = {r} + {c}[i];", "{a}[i] = {c}[i] - {r};", "{a}[i] += {r};"))
    body = draw.loop("", draw.header(ends[1], ends[0]), [form.format(a=a, r=read, c=c)])
    return draw.sketch(body, (a, b), name)


def true_dependence(draw: Draw) -> Sketch:
    """An iteration reads what an earlier one wrote."""
    return _recurrence(draw, "-", "other array")


def anti_dependence(draw: Draw) -> Sketch:
    """An iteration reads what a later one overwrites."""
    return _recurrence(draw, "+", "other array")


def output_dependence(draw: Draw) -> Sketch:
    """Several iterations write one element, or each its own."""
    a, b = draw.array(), draw.array()
    # Divisors above 4: a chunk of 4 iterations that share an element is one thread's, and no race.
    clash = draw.rng.choice((f"i / {draw.rng.randint(5, 9)}", f"i % {10 * draw.digit()}", str(draw.digit())))
    body = draw.loop("", draw.header(), [f"{b}[{HOLE}] = {draw.term(f'{a}[i]')};"])
    return draw.sketch(body, (clash, "i"), "own element")


def distance(draw: Draw) -> Sketch:
    """The distance between what is read and written is below the number of iterations, or not."""
    a = draw.array(2 * draw.n)
    near = draw.rng.randrange(draw.n // 10, draw.n * 2 // 3)
    forms = ("{a}[i] = {a}[i + {h}] + {d};", "{a}[i + {h}] = {a}[i] + {d};", "{a}[i] += {a}[i + {h}];")
    line = draw.rng.choice(forms).format(a=a, h=HOLE, d=draw.digit())
    return draw.sketch(draw.loop("", draw.header(), [line]), (str(near), str(draw.n)), "distance")


def index_array(draw: Draw) -> Sketch:
    """Indices come from an array in which one occurs twice, or none."""
    size = 8
    draw.n = size
    a, b, index = draw.array(), draw.array(), draw.name()
    order = draw.rng.sample(range(size), size)
    # The two equal indices lie half the loop apart, so that no usual schedule gives both to one thread.
    place = draw.rng.randrange(size // 2)
    numbers = [str(value) for value in order]
    numbers[place] = HOLE
    line = draw.rng.choice(("{a}[{p}[i]] = {t};", "{a}[{p}[i]] += {t};")).format(a=a, p=index, t=draw.term(f"{b}[i]"))
    table = f"int {index}[{size}] = {{{', '.join(numbers)}}};"
    body = draw.loop("", draw.header(), [line])
    return draw.sketch(body, (str(order[place + size // 2]), str(order[place])), "index", before=[table])


def modulus(draw: Draw) -> Sketch:
    """A factor and the size share a divisor, so that indices repeat, or share none."""
    a, b = draw.array(), draw.array()
    factors = range(3, 30)
    clash = draw.rng.choice([factor for factor in factors if gcd(factor, draw.n) > 1])
    coprime = draw.rng.choice([factor for factor in factors if gcd(factor, draw.n) == 1])
    body = draw.loop("", draw.header(), [f"{b}[i * {HOLE} % {draw.n}] = {draw.term(f'{a}[i]')};"])
    return draw.sketch(body, (str(clash), str(coprime)), "factor")


def stride(draw: Draw) -> Sketch:
    """With steps of more than one, an offset of the step meets the next iteration's element."""
    step = draw.rng.randint(2, 4)
    a = draw.array(step * draw.n + step + 1)
    operator = draw.rng.choice(("=", "+="))
    line = f"{a}[{step} * i] {operator} {a}[{step} * i + {HOLE}];"
    offset = draw.rng.randrange(1, step)
    return draw.sketch(draw.loop("", draw.header(), [line]), (str(step), str(offset)), "offset")


def stencil(draw: Draw) -> Sketch:
    """Neighbours are averaged in place, or into another array."""
    a, b = draw.array(), draw.array()
    form = draw.rng.choice(("({a}[i - 1] + {a}[i + 1]) / 2", "({a}[i - 1] + {a}[i] + {a}[i + 1]) / 3"))
    body = draw.loop("", draw.header(draw.n - 1, 1), [f"{HOLE}[i] = {form.format(a=a)};"])
    return draw.sketch(body, (a, b), "other array")


def rows(draw: Draw) -> Sketch:
    """A recurrence in a table runs across the shared-out rows, or along them."""
    draw.n = draw.rng.randint(20, 40)
    width = draw.rng.randint(10, 30)
    w = draw.array(draw.n, width)
    if draw.rng.random() < 0.5:
        fills, first, last, height = ("i - 1][j", "i][j - 1"), 1, width, draw.n
    else:
        fills, first, last, height = ("i + 1][j", "i][j + 1"), 0, width - 1, draw.n - 1
    operator = draw.rng.choice(("+=", "-="))
    inner = [f"for (int j = {first}; j < {last}; j++)", [f"{w}[i][j] {operator} {w}[{HOLE}];"]]
    return draw.sketch(draw.loop("", draw.header(height, first), inner), fills, "along rows")


def collapse(draw: Draw) -> Sketch:
    """The inner loop has a recurrence; sharing out both loops breaks it."""
    draw.n = draw.rng.randint(10, 20)
    width = draw.rng.randint(20, 40)
    w = draw.array(draw.n, width)
    lag = draw.rng.randint(1, 3)
    line = f"{w}[i][j] = {w}[i][j - {lag}] + {draw.digit()};"
    nest: Lines = [f"for (int j = {lag}; j < {width}; j++)", [line]]
    if draw.split:
        region: Lines = ["#pragma omp parallel", "{", [f"#pragma omp for{HOLE}", draw.header(), nest], "}"]
    else:
        region = [f"#pragma omp parallel for{HOLE}{draw.schedule()}", draw.header(), nest]
    return draw.sketch(region, (" collapse(2)", ""), "no collapse")


def transpose(draw: Draw) -> Sketch:
    """Elements are swapped across the diagonal, twice by two iterations or once."""
    draw.n = draw.rng.randint(20, 40)
    w, t = draw.array(draw.n, draw.n), draw.name()
    swap = [f"{draw.kind} {t} = {w}[i][j];", f"{w}[i][j] = {w}[j][i];", f"{w}[j][i] = {t};"]
    inner = braced(f"for (int j = 0; j < {HOLE}; j++)", swap)
    return draw.sketch(draw.loop("", draw.header(), inner), (str(draw.n), "i"), "inner bound")


def pointer_alias(draw: Draw) -> Sketch:
    """Two pointers lead into one array, or into two."""
    shift = draw.rng.randint(1, 4)
    a, b, x, y = draw.array(draw.n + shift), draw.array(draw.n + shift), draw.name(), draw.name()
    fills = (f"{a} + {shift}", f"{b} + {shift}")
    line = f"{x}[i] = {draw.term(f'{y}[i]')};"
    body = draw.loop("", draw.header(), [line])
    if draw.rng.random() < 0.5:
        helper = draw.function()
        before = [f"void {helper}({draw.kind} *{x}, {draw.kind} *{y}) {{", body, "}"]
        return draw.sketch([f"{helper}({HOLE}, {a});"], fills, "other array", before=before)
    pointers = [f"{draw.kind} *{x} = {HOLE};", f"{draw.kind} *{y} = {a};"]
    return draw.sketch([*pointers, *body], fills, "other array")


DEPENDENCE: dict[str, Callable[[Draw], Sketch]] = {
    "true_dependence": true_dependence,
    "anti_dependence": anti_dependence,
    "output_dependence": output_dependence,
    "distance": distance,
    "index_array": index_array,
    "modulus": modulus,
    "stride": stride,
    "stencil": stencil,
    "rows": rows,
    "collapse": collapse,
    "transpose": transpose,
    "pointer_alias": pointer_alias,
}
