"""A graph of values as the statements of a function: what is used once is nested, what is used twice gets a name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_NESTED = 3
MOST_CHARACTERS = 80
_NAMES = ("out", "side", "other")


@dataclass(frozen=True)
class Step:
    """One value of the graph and how it is written.

    Attributes:
        value: what the graph calls the result.
        inputs: the values that it is made of.
        write: source of the result, from the source of each input.
        depth: how deeply each input may be nested; 0 wants a plain name.
    """

    value: str
    inputs: tuple[str, ...]
    write: Callable[..., str]
    depth: int = MOST_NESTED


class Flow:
    """Statements in the making: every live value with its source, which is a variable or an expression yet to be named.

    A variable is taken over as soon as nothing that is still wanted reads it.
    """

    def __init__(self, steps: Sequence[Step], start: str, *, nested: bool) -> None:
        self.uses = Counter(name for step in steps for name in step.inputs)
        self.nested = nested
        self.held = {start: "x"}
        self.depths = {start: 0}
        self.variables = ["x"]
        self.lines: list[str] = []
        for step in steps:
            self._take(step)
        self.result = self.held[steps[-1].value]

    def _take(self, step: Step) -> None:
        for name in step.inputs:
            if self.depths[name] > step.depth or len(self.held[name]) > MOST_CHARACTERS:
                self._name(name)
        written = step.write(*(self.held[name] for name in step.inputs))
        self.depths[step.value] = 1 + max(self.depths[name] for name in step.inputs)
        for name in step.inputs:
            self.uses[name] -= 1
            if not self.uses[name]:
                self.held.pop(name, None)
        self.held[step.value] = written
        if self.uses[step.value] > 1 or (self.uses[step.value] and not self.nested):
            self._name(step.value)

    def _name(self, value: str) -> None:
        """Put a value into a variable: one that only it reads, or a new one."""
        expression = self.held.pop(value)
        read_elsewhere = {name for other in self.held.values() for name in _names(other)}
        own = [name for name in self.variables if name in _names(expression) and name not in read_elsewhere]
        free = [name for name in self.variables if name not in read_elsewhere]
        variable = (own or free or [self._new()])[0]
        self.lines.append(f"{variable} = {expression}")
        self.held[value], self.depths[value] = variable, 0

    def _new(self) -> str:
        place = len(self.variables) - 1
        self.variables.append(_NAMES[place] if place < len(_NAMES) else f"value{place}")
        return self.variables[-1]


def _names(expression: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", expression))
