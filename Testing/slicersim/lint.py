"""python -m slicersim.lint FILE...: names under slicer, qt and ctk that do not exist here.

And attributes that look like Qt properties and that PythonQt does not let anyone set.
"""

import ast
import sys
from pathlib import Path

from .pythonqt import NO_PROPERTIES

ROOTS = ("slicer", "qt", "ctk")


def unknown_names(source):
    """{dotted name: line} of the names under slicer, qt and ctk that cannot be looked up."""
    found = {}
    for node in ast.walk(ast.parse(source)):
        parts = _dotted(node)
        unknown = _first_unknown(parts) if parts and parts[0] in ROOTS else None
        if unknown:
            found.setdefault(unknown, node.lineno)
    return found


def refused_properties(source):
    """{attribute: line} of what is set, on any object, though PythonQt has no such property."""
    refused = set().union(*NO_PROPERTIES.values())
    nodes = ast.walk(ast.parse(source))
    stored = (n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store))
    return {node.attr: node.lineno for node in stored if node.attr in refused}


def _dotted(node):
    """["slicer", "util", "x"] for the expression slicer.util.x, else []."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return [node.id, *parts] if parts and isinstance(node, ast.Name) else []


def _first_unknown(parts):
    thing = sys.modules[parts[0]]
    for count, part in enumerate(parts[1:], 2):
        if not hasattr(thing, part):
            return ".".join(parts[:count])
        thing = getattr(thing, part)
    return None


def main(paths):
    """Prints what is unknown; how many names."""
    count = 0
    for path in paths:
        source = Path(path).read_text()
        found = {**unknown_names(source), **refused_properties(source)}
        for name, line in sorted(found.items()):
            print(f"{path}:{line}: {name}")
            count += 1
    return count


if __name__ == "__main__":
    from .app import boot, leave

    boot()
    leave(1 if main(sys.argv[1:]) else 0)
