"""The floors inside a crate: which folder may import which, and that no two files import each other in a loop.

Reads `use` declarations and paths that start with `crate::` or `super::`, follows re-exports to the file that defines
a name, and leaves tests out. An import that only hands a name on (`pub use`) is no arrow.
"""

import re
from pathlib import Path

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
LITERAL = re.compile(r'r(#*)".*?"\1|"(?:\\.|[^"\\])*"', re.S)
USE = re.compile(r"^\s*(pub(?:\([a-z ]+\))?\s+)?use\s+([^;]+);", re.M)
TEST_FILE = re.compile(r"#\[cfg\(test\)\]\s*mod (\w+);")
PATH = re.compile(r"(?<!in )\b(?:crate|super)(?:::\w+)+")


def without_tests(text):
    """The text up to the module of tests, which may reach anywhere."""
    return re.split(r"#\[cfg\(test\)\]\s*(?:#\[[^\]]*\]\s*)*mod \w+ \{", text)[0]


def module_of(source, file):
    """`plan/run.rs` and `plan/run/mod.rs` are both `("plan", "run")`; `lib.rs` is `()`."""
    parts = file.relative_to(source).with_suffix("").parts
    return () if parts == ("lib",) else parts[:-1] if parts[-1] == "mod" else parts


def expand(tree):
    """The paths of a use tree, each a list of names: `a::{b, c::d as e}` gives [a, b] and [a, c, d]."""
    tree = tree.strip()
    head, brace, rest = tree.partition("{")
    if not brace:
        return [[part for part in re.split(r"\s+as\s+", tree)[0].split("::") if part]]
    prefix = [part for part in head.strip().split("::") if part]
    depth, start, parts, inner = 0, 0, [], rest[: rest.rindex("}")]
    for place, letter in enumerate(inner + ","):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(inner[start:place])
            start = place + 1
    return [prefix + path for part in parts if part.strip() for path in expand(part)]


class Crate:
    """The modules of a crate, by path: `("plan", "run")` is plan/run.rs or plan/run/mod.rs."""

    def __init__(self, source):
        self.source = Path(source)
        self.uses, self.exports = {}, {}
        texts = {file: LITERAL.sub('""', COMMENT.sub("", file.read_text())) for file in self.source.rglob("*.rs")}
        tests = {
            module_of(self.source, file)[: -1 if file.stem not in ("mod", "lib") else None] + (name,)
            for file, text in texts.items() for name in TEST_FILE.findall(text)
        }
        for file, text in sorted(texts.items()):
            module = module_of(self.source, file)
            if module in tests:
                continue
            text = without_tests(text)
            self.uses[module], self.exports[module] = set(), {}
            for public, tree in USE.findall(text):
                for path in expand(tree):
                    if public and path[0] in ("self", "super", "crate"):
                        self.exports[module][path[-1]] = path
                    elif public:
                        self.exports[module][path[-1]] = ["self", *path]
                    else:
                        self.uses[module].add(tuple(path))
            self.uses[module] |= {tuple(path.split("::")) for path in PATH.findall(USE.sub("", text))}

    def defined(self, module, path, depth=0):
        """The module that defines what `path` means in `module`; None where it is another crate's."""
        path = list(path)
        if path[0] == "crate":
            at, path = (), path[1:]
        elif path[0] in ("self", "super") or (*module, path[0]) in self.uses:
            at = module
            while path and path[0] in ("self", "super"):
                at, path = (at[:-1] if path[0] == "super" else at), path[1:]
        else:
            return None
        while path and (*at, path[0]) in self.uses:
            at, path = (*at, path[0]), path[1:]
        if path and path[0] in self.exports.get(at, {}) and depth < 9:
            found = self.defined(at, [*self.exports[at][path[0]], *path[1:]], depth + 1)
            return at if found is None else found
        return at

    def arrows(self):
        """Which file takes something from which: pairs of modules."""
        for module, paths in self.uses.items():
            for path in paths:
                target = self.defined(module, path)
                # A path to the folder's own face names a child there, or something that the face itself defines.
                if target is not None and target != module:
                    yield module, target

    def file(self, module):
        named = self.source.joinpath(*module)
        found = [self.source / "lib.rs"] if not module else [named.with_suffix(".rs"), named / "mod.rs"]
        return next(path for path in found if path.is_file())


def circles(arrows):
    """Groups of modules that reach each other, by Tarjan's algorithm."""
    graph = {}
    for source, target in arrows:
        graph.setdefault(source, set()).add(target)
        graph.setdefault(target, set())
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for following in graph[node]:
            if following not in index:
                visit(following)
            if following in stack:
                low[node] = min(low[node], low[following])
        if low[node] == index[node]:
            place = stack.index(node)
            if len(stack) - place > 1:
                found.append(sorted(stack[place:]))
            del stack[place:]

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def findings(root, source, floors, allowed):
    """A line for each arrow that runs back up and each circle that is not allowed.

    `floors` names the folders and files of `source` from the top down, those of one floor in one string.
    """
    crate = Crate(root / source)
    level = {tuple(name.split("/")): number for number, names in enumerate(floors) for name in names.split()}
    arrows = set(crate.arrows())

    def room(module):
        """The folder or file of the list in which a module stands: the innermost, where one lies in another."""
        module = module or ("lib",)
        inner = (module[:length] for length in range(len(module), 0, -1))
        return next((place for place in inner if place in level), module[:1])

    for name in sorted({room(module) for module in crate.uses} - set(level)):
        yield f"{source}: {'/'.join(name)} stands on no floor; dev/check.py lists them"
    for lower, upper in sorted(arrows):
        down, up = level.get(room(lower), 0), level.get(room(upper), 0)
        if down > up or (down == up and room(lower) != room(upper)):
            yield f"{crate.file(lower).relative_to(root)}: takes from {crate.file(upper).relative_to(root)}, an arrow back up"
    for circle in circles(arrows):
        names = [str(crate.file(module).relative_to(root / source)) for module in circle]
        if set(names) not in allowed:
            yield f"{source}: a circle of imports: {', '.join(names)}"
