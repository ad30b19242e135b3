"""Which standard-library APIs are gone, what stands in their place, and what is near them and still there.

Every form is an expression of at most one argument, `{x}`, of a kind of `KINDS`. Its head is what the removed form and
its fix have in common; they part right after it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Kind of argument -> names for choosing and training, names that are held out, a value.
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "": ((), (), ""),
    "array": (
        ("samples", "pixels", "values", "levels"),
        ("signal", "readings", "heights", "block"),
        "a.array('i', [1])",
    ),
    "bytes": (("data", "payload", "raw", "packet"), ("blob", "chunk", "message", "content"), "b'YWJj'"),
    "error": (("error", "problem", "failure", "exc"), ("err", "cause", "fault", "reason"), "ValueError('a')"),
    "function": (("func", "callback", "handler", "method"), ("hook", "target", "action", "wrapped"), "lambda a: a"),
    "iterator": (("stream", "reader", "lines", "tokens"), ("source", "rows", "feed", "records"), "iter([1, 2])"),
    "mapping": (("counts", "settings", "ages", "prices"), ("table", "stock", "scores", "headers"), "{'a': 1}"),
    "node": (("root", "node", "element", "document"), ("tree", "parent", "branch", "item"), "ET.fromstring('<a/>')"),
    "number": (("count", "size", "total", "limit"), ("amount", "width", "length", "code"), "7"),
    "numbers": (("numbers", "weights", "sizes", "points"), ("costs", "ranks", "marks", "steps"), "[3, 1, 2]"),
    "text": (("text", "line", "title", "phrase"), ("word", "label", "caption", "note"), "'7'"),
    "thread": (("thread", "worker", "task", "job"), ("runner", "loader", "sender", "child"), "threading.Thread()"),
    "url": (("url", "link", "address", "page"), ("target", "location", "endpoint", "site"), "'data:,a'"),
}
FUNCTIONS = ("load", "prepare", "report", "convert"), ("build", "collect", "refresh", "inspect_it")
RESULTS = ("result", "value", "output", "found"), ("answer", "current", "made", "given")
CLASSES = ("Loader", "Report", "Parser", "Session"), ("Builder", "Monitor", "Client", "Station")


@dataclass(frozen=True)
class Pair:
    """A removed form and its fix.

    Attributes:
        family: Pairs that share a form; they are trained on or held out together.
        kind: Of the argument; empty for none.
        setup: Imports.
        head: What both begin with.
        bad: How the removed form goes on.
        good: How the fix goes on.
        near: What a neighbouring expression that is still right is for.
        neighbour: That expression.
        below: The first Python in which the context itself no longer runs, (3, minor); None while there is none.
    """

    family: str
    kind: str
    setup: str
    head: str
    bad: str
    good: str
    near: str
    neighbour: str
    below: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """The removed form, as people know it."""
        text = (self.head.rpartition("(")[2].rpartition(", ")[2] + self.bad).replace("{x}", self.kind)
        return re.split(r"[(=)]", text)[0]


# Family, kind and imports; then head | bad | good | what the neighbour is for | neighbour. ~ is a space at an end.
_TABLE = """
time (): import time
    time. | clock() | perf_counter() | seconds since 1970 | time.time()
inspect (function): import inspect
    inspect. | getargspec({x}) | getfullargspec({x}) | its docstring | inspect.getdoc({x})
    inspect. | formatargspec(*inspect.getfullargspec({x})) | signature({x}) | is it a class | inspect.isclass({x})
function (function): import functools
    {x}. | func_name | __name__ | its docstring | {x}.__doc__
    {x}. | func_code | __code__ | its module | {x}.__module__
abc (mapping): import collections.abc
    isinstance({x}, collections. | Mapping) | abc.Mapping) | keep the order | collections.OrderedDict({x})
abc (numbers): import collections.abc
    isinstance({x}, collections. | Iterable) | abc.Iterable) | count them | collections.Counter({x})
abc (function): import collections.abc
    isinstance({x}, collections. | Callable) | abc.Callable) | an empty queue | collections.deque()
escape (text) below 3.13: import cgi; import html
     | cgi.escape({x}) | html.escape({x}) | the other way | html.unescape({x})
escape (text): import html; from html.parser import HTMLParser
     | HTMLParser().unescape({x}) | html.unescape({x}) | the other way | html.escape({x})
has_key (mapping): import os
    {x}. | has_key('a') | get('a') | take it out | {x}.pop('a')
dict.iter (mapping): import os
    list({x}. | iteritems()) | items()) | a second one | {x}.copy()
    sum({x}. | itervalues()) | values()) | how many | len({x})
    sorted({x}. | iterkeys()) | keys()) | the greatest key | max({x})
    set({x}. | viewkeys()) | keys()) | whether it is empty | not {x}
itertools (numbers): import itertools
    list( | itertools.izip({x}, {x})) | zip({x}, {x})) | one after the other | list(itertools.chain({x}, {x}))
    list( | itertools.imap(abs, {x})) | map(abs, {x})) | by number | list(enumerate({x}))
    list( | itertools.ifilter(None, {x})) | filter(None, {x})) | from the end | list(reversed({x}))
    list(itertools. | izip_longest({x}, [1])) | zip_longest({x}, [1])) | the first ones | list(itertools.islice({x}, 2))
    list(itertools. | ifilterfalse(None, {x})) | filterfalse(None, {x})) | all pairs | list(itertools.product({x}, {x}))
input (): import sys
     | raw_input() | input() | read everything | sys.stdin.read()
range (number): import random
    list( | xrange({x})) | range({x})) | one of them | random.randrange({x})
text (number): import sys
     | unicode({x}) | str({x}) | as it is written | repr({x})
     | unichr({x}) | chr({x}) | in hexadecimal | hex({x})
text (text): import sys
    isinstance({x},~ | basestring) | str) | its parts | {x}.split()
number (text): import sys
     | long({x}) | int({x}) | with a fraction | float({x})
reduce (numbers): import functools; import operator
     | reduce(operator.add, {x}) | functools.reduce(operator.add, {x}) | their sum | sum({x})
sort (numbers): import operator
    sorted({x},~ | cmp=lambda a, b: a - b) | key=lambda a: a) | from the greatest | sorted({x}, reverse=True)
base64 (bytes): import base64
    base64. | encodestring({x}) | encodebytes({x}) | in one line | base64.b64encode({x})
    base64. | decodestring({x}) | decodebytes({x}) | without line ends | base64.b64decode({x})
thread (thread): import threading
    {x}. | isAlive() | is_alive() | what it is called | {x}.name
string (): import string
    string. | letters | ascii_letters | the digits | string.digits
    string. | lowercase | ascii_lowercase | what is no letter | string.punctuation
    string. | uppercase | ascii_uppercase | what can be printed | string.printable
string (text): import string
     | string.split({x}) | {x}.split() | as a template | string.Template({x})
     | string.atoi({x}) | int({x}) | with capitals | string.capwords({x})
     | string.maketrans({x}, {x}) | str.maketrans({x}, {x}) | in capitals | {x}.upper()
os (): import os
    os. | getcwdu() | getcwd() | what lies there | os.listdir('.')
os (): import errno; import os
     | os.errno.ENOENT | errno.ENOENT | this process | os.getpid()
urllib (text): import urllib.parse
    urllib. | quote({x}) | parse.quote({x}) | its parts | urllib.parse.urlsplit({x})
    urllib. | unquote({x}) | parse.unquote({x}) | its fields | urllib.parse.parse_qs({x})
urllib (mapping): import urllib.parse
    urllib. | urlencode({x}) | parse.urlencode({x}) | as a list | list({x})
urlopen (url): import urllib.request
    urllib. | urlopen({x}) | request.urlopen({x}) | with headers | urllib.request.Request({x})
     | urllib2.urlopen({x}) | urllib.request.urlopen({x}) | the proxies | urllib.request.getproxies()
array (array): import array as a
    {x}. | tostring() | tobytes() | as a list | {x}.tolist()
gettext (text): import gettext
    gettext. | lgettext({x}) | gettext({x}) | the domain | gettext.textdomain()
platform (): import platform
    platform. | linux_distribution() | platform() | the machine | platform.machine()
gcd (number): import fractions; import math
     | fractions.gcd({x}, 21) | math.gcd({x}, 21) | as a fraction | fractions.Fraction({x})
node (node): import xml.etree.ElementTree as ET
    {x}. | getchildren() | iter() | its name | {x}.tag
    list({x}. | getiterator()) | iter()) | by its tag | {x}.find('a')
sys (): import sys
    sys. | maxint | maxsize | the version | sys.version
next (iterator): import sys
    {x}. | next() | __next__() | all of them | list({x})
decode (text): import codecs
    {x}. | decode('utf-8') | encode('utf-8') | in small letters | {x}.lower()
operator (function): import operator
     | operator.isCallable({x}) | callable({x}) | whether it is set | operator.truth({x})
error (error): import sys
    {x}. | message | args | as a text | str({x})
"""


def _read(table: str) -> tuple[Pair, ...]:
    found: list[Pair] = []
    family, kind, setup, below = "", "", "", None
    for line in table.strip().splitlines():
        if not line.startswith(" "):
            parts = re.fullmatch(r"(\S+) \((\w*)\)(?: below 3\.(\d+))?: (.*)", line)
            assert parts is not None, f"no heading: {line}"
            family, kind, version, setup = parts.groups()
            below = (3, int(version)) if version else None
            continue
        head, bad, good, near, neighbour = (part.strip().replace("~", " ") for part in line.split(" | "))
        found.append(Pair(family, kind, setup.replace("; ", "\n"), head, bad, good, near, neighbour, below))
    return tuple(found)


PAIRS = _read(_TABLE)
