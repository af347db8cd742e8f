"""Python source as text: numbers, lines folded as a formatter would fold them, and how many of them are code."""

from __future__ import annotations

import ast
import textwrap

WIDTH = 100
_CLOSING = {"(": ")", "[": "]", "{": "}"}


def number(value: float) -> str:
    """A number as a person would write it, to the seven digits that float32 holds."""
    return str(value) if isinstance(value, int) else repr(float(f"{value:.7g}")).replace("e-0", "e-")


def pair(values: tuple[int, int]) -> str:
    """A height and a width: one number where they are equal."""
    height, width = values
    return str(height) if height == width else f"({height}, {width})"


def tuple_of(items: list[str]) -> str:
    """Source of a tuple."""
    return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"


def comment(lines: list[str], indent: str = "") -> list[str]:
    """Each line as a comment, wrapped; an item of a list (`- `) hangs."""
    found = []
    for line in lines:
        hanging = f"{indent}#   " if line.startswith("- ") else f"{indent}# "
        found += textwrap.wrap(line, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=hanging)
    return found


def indented(lines: list[str], depth: int = 1) -> list[str]:
    """The lines, further right."""
    return [f"{'    ' * depth}{line}" if line else "" for line in lines]


def source(blocks: list[list[str]]) -> str:
    """Definitions, two blank lines apart, with every line that is too long folded."""
    return "\n\n\n".join("\n".join(folded for line in block for folded in fold(line)) for block in blocks) + "\n"


def fold(line: str, before: str = "", after: str = "") -> list[str]:
    """One statement on as few lines as fit: whole, its arguments on a line, or each on its own."""
    if len(line) + len(after) <= WIDTH or line.lstrip().startswith(("#", '"""')):
        return [line + after]
    start, stop = _longest_brackets(line)
    if stop - start < 2:
        return [line + after]
    indent = line[: len(line) - len(line.lstrip())]
    arguments = _split(line[start + 1 : stop])
    whole = f"{indent}    {', '.join(arguments)}"
    foldable = len(whole) <= WIDTH and "for" not in line[start + 1 : stop].split()
    body = [whole] if foldable else [part for one in arguments for part in fold(f"{indent}    {one}", after=",")]
    return [line[: start + 1], *body, indent + line[stop:] + after]


def code_lines(python: str) -> int:
    """How many lines hold code: neither blank, nor comment, nor docstring."""
    tree = ast.parse(python)
    quiet = {number for node in ast.walk(tree) for number in _docstring_lines(node)}
    lines = enumerate(python.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") and place not in quiet for place, line in lines)


def _docstring_lines(node: ast.AST) -> range:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        first = node.body[0]
        return range(first.lineno, (first.end_lineno or first.lineno) + 1)
    return range(0)


def _longest_brackets(line: str) -> tuple[int, int]:
    """Where the longest outermost pair of brackets opens and closes."""
    best, depth, start = (0, 0), 0, 0
    for place, quoted in _unquoted(line):
        if quoted in _CLOSING:
            start = place if depth == 0 else start
            depth += 1
        elif quoted in _CLOSING.values():
            depth -= 1
            if depth == 0 and place - start > best[1] - best[0]:
                best = (start, place)
    return best


def _split(arguments: str) -> list[str]:
    """Arguments apart, at the commas that are inside no bracket of their own."""
    depth, parts, start = 0, [], 0
    for place, sign in _unquoted(arguments):
        depth += (sign in _CLOSING) - (sign in _CLOSING.values())
        if sign == "," and depth == 0:
            parts.append(arguments[start:place].strip())
            start = place + 1
    return [*parts, arguments[start:].strip()]


def _unquoted(line: str) -> list[tuple[int, str]]:
    """The characters outside of strings, with their places."""
    quoted, found = "", []
    for place, sign in enumerate(line):
        if quoted:
            quoted = "" if sign == quoted else quoted
        elif sign in "\"'":
            quoted = sign
        else:
            found.append((place, sign))
    return found
