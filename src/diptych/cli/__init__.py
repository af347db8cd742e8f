"""The command line: each verb is imported only when it is called."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from types import FrameType
from typing import Any

from diptych import __version__
from diptych.cli.output import own_streams
from diptych.errors import DiptychError, Remark, UrgentRemark, UsageError
from diptych.vocabulary import did_you_mean

VERBS = {
    "train": "train a classifier in PyTorch, TensorFlow, or both",
    "evaluate": "evaluate a run or an exported file on a test set",
    "predict": "classify images",
    "export": "export a run's model and verify each file",
    "describe": "print the model card of an exported file",
    "benchmark": "measure accuracy, latency and size of every format in every runtime",
    "compare": "compare PyTorch and TensorFlow on your data, or compare finished runs",
    "tune": "search for a better recipe and model, and test what was found in both frameworks",
    "code": "write a model and its training as native PyTorch and Keras code",
    "transfer": "copy weights between PyTorch and Keras files",
    "verify": "prove that a model is the same in both frameworks",
    "data": "check a dataset for damaged files, duplicates, leakage and outliers",
    "models": "list the built-in models",
    "datasets": "list the datasets known by name",
    "recipes": "list the built-in recipes",
    "differences": "list how the frameworks differ and what diptych does",
}
_MODULES = {
    "inference": "evaluate predict",
    "deployment": "export describe benchmark",
    "models": "transfer verify models recipes differences",
    "data": "data datasets",
}
MODULES = {verb: module for module, verbs in _MODULES.items() for verb in verbs.split()}
HELP = """diptych: one image classifier, two frameworks, proven equal.

usage: diptych COMMAND ...

{verbs}

See `diptych COMMAND --help`. Start with:
  diptych train digits --engine both
"""
# `timeout`, shells and terminals signal a process and then, at once, its whole group.
SECONDS_OF_ONE_SIGNAL = 0.5


def main(args: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0 done, 1 a check failed, 2 bad input, 128 + the signal that ended it."""
    given = sys.argv[1:] if args is None else args
    try:
        if args is None:  # the process is ours
            own_streams()
            _listen()
        with _remarks_last():
            return _dispatch(given)
    except DiptychError as error:
        print(_one_line(f"diptych: {error}"), file=sys.stderr)
        return 2
    except (OSError, MemoryError) as error:
        if args is None:  # Python would complain again when it closes standard output
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if isinstance(error, BrokenPipeError):  # the reader, such as `head`, is gone
            return 128 + signal.SIGPIPE
        place = f" '{path}'" if (path := getattr(error, "filename", None)) else " the output"
        fault = f"Cannot use{place}: {error.strerror}" if isinstance(error, OSError) else f"Not enough memory: {error}"
        print(_one_line(f"diptych: {fault}."), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interruption:
        notes = getattr(interruption, "__notes__", [])
        hints = ["Repeat the command to resume."] if given[:1] in (["compare"], ["tune"]) else notes
        with suppress(OSError):  # the terminal may be gone
            print(" ".join(["diptych: interrupted.", *hints]), file=sys.stderr, flush=True)
        return 128 + (interruption.args[0] if interruption.args else signal.SIGINT)


@contextmanager
def _remarks_last() -> Iterator[None]:
    """Print each remark once, in a line, at the end of the block: standard error may be held back before."""
    show, remarks = warnings.showwarning, dict[str, None]()

    def hold(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if category is UrgentRemark:
            return print(_one_line(f"diptych: {message}"), file=sys.stderr, flush=True)
        if category is not Remark:
            return show(message, category, *place, **more)
        return remarks.setdefault(f"diptych: {message}")

    warnings.simplefilter("always", Remark)
    warnings.showwarning = hold
    try:
        yield
    finally:
        warnings.showwarning = show
        for remark in remarks:
            print(_one_line(remark), file=sys.stderr)


def _one_line(text: str) -> str:
    """Escape line breaks and control characters, which a name may have."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _listen() -> None:
    """Treat SIGTERM and SIGHUP (the terminal closed) like Ctrl-C, unless the parent process ignores them."""
    last = -SECONDS_OF_ONE_SIGNAL

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_OF_ONE_SIGNAL:
            last = time.monotonic()
            raise KeyboardInterrupt(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def _dispatch(given: list[str]) -> int:
    verb, *rest = given or ["--help"]
    if verb in ("-h", "--help", "help"):
        width = max(map(len, VERBS))
        verbs = "\n".join(f"  {one:{width}}  {summary}" for one, summary in VERBS.items())
        print(HELP.format(verbs=verbs), end="", flush=True)
        return 0
    if verb in ("-V", "--version"):
        print(f"diptych {__version__}", flush=True)
        return 0
    if verb not in VERBS:
        raise UsageError(f"Unknown command '{verb}'{did_you_mean(verb, VERBS)}. `diptych --help` lists them.")
    module = import_module(f"diptych.cli.{MODULES.get(verb, verb)}")
    code: int = getattr(module, verb if verb in MODULES else "main")(rest)
    sys.stdout.flush()  # else what cannot be written is noticed when Python ends
    return code
