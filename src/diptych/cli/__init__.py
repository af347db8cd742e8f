"""The command line: one file per verb, imported only when it is called."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from importlib import import_module
from types import FrameType

from diptych import __version__
from diptych.errors import DiptychError, UsageError

VERBS = {
    "train": "train a classifier in PyTorch, TensorFlow, or both",
    "evaluate": "measure a run or a shipped file on a test set",
    "predict": "classify images",
    "export": "write a run's model in any format, proved against what was trained",
    "describe": "what a shipped file says of itself",
    "benchmark": "every format and runtime on this machine: accuracy, latency, size",
    "compare": "PyTorch or TensorFlow, for your data: paired runs and a report",
    "transfer": "bring weights from one file into another, across frameworks",
    "verify": "prove that a model is the same in both frameworks",
    "models": "list the models that have a name",
    "data": "check a dataset: files, duplicates, leaks, classes, odd images",
    "datasets": "list the datasets that have a name",
    "recipes": "list the trainings that have a name",
    "differences": "where the frameworks disagree, and the rule here",
}


SECONDS_OF_ONE_SIGNAL = 0.5


class Interrupted(KeyboardInterrupt):
    """A signal came that ends the command: every `with` block cleans up, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


_HINTS = {"compare": "The same command goes on where it was."}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 a check failed, 2 bad input, 128 + the signal that ended it."""
    given = sys.argv[1:] if arguments is None else arguments
    if arguments is None:  # the process is ours
        _listen()
    try:
        return _dispatch(given)
    except DiptychError as error:
        print(f"diptych: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Whoever read the output has seen enough; Python would complain again when it closes the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt as interruption:
        hints = [_HINTS[given[0]]] if given[0] in _HINTS else getattr(interruption, "__notes__", [])
        with suppress(OSError):  # the terminal may be gone
            print(" ".join(["diptych: interrupted.", *hints]), file=sys.stderr, flush=True)
        return 128 + (interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT)


def _listen() -> None:
    """Take Ctrl-C, SIGTERM and, when the terminal is closed, SIGHUP alike, unless whoever started this ignores them."""
    last = -SECONDS_OF_ONE_SIGNAL

    def interrupt(number: int, _frame: FrameType | None) -> None:
        # `timeout`, shells and terminals signal a process and then, at once, its whole group.
        nonlocal last
        if time.monotonic() - last >= SECONDS_OF_ONE_SIGNAL:
            last = time.monotonic()
            raise Interrupted(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def help_text() -> str:
    """What `diptych --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:{width}}  {summary}" for verb, summary in VERBS.items())
    return f"""diptych: one image classifier, two frameworks, proven equal.

usage: diptych VERB ...

{verbs}

`diptych VERB --help` says more. Begin with:
  diptych train digits --engine both
"""


def _dispatch(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help", "help"):
        print(help_text(), end="")
        return 0
    if given[0] in ("-V", "--version"):
        print(f"diptych {__version__}")
        return 0
    verb, *rest = given
    if verb not in VERBS:
        from diptych.spec.typed import did_you_mean

        raise UsageError(f"unknown verb '{verb}'{did_you_mean(verb, VERBS)}. `diptych --help` lists them.")
    code: int = import_module(f"diptych.cli.{verb}").main(rest)
    return code
