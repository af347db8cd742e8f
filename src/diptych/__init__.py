"""diptych: one image classifier, two frameworks, proven equal.

    import diptych

    run = diptych.train("digits", engine="torch")
    diptych.evaluate(run, engine="tensorflow")["accuracy"]
    diptych.predict(run, "photos/*.png")
    diptych.build("resnet20", engine="torch")  # a plain nn.Module

Importing it imports no framework, and nothing heavy until a function is called.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "DiptychError",
    "ModelSpec",
    "Prediction",
    "Recipe",
    "Run",
    "benchmark",
    "build",
    "check_data",
    "compare",
    "compare_runs",
    "describe",
    "evaluate",
    "export",
    "predict",
    "replay",
    "resume",
    "train",
    "transfer",
    "verify",
]
_HOMES = {"DiptychError": "errors", "ModelSpec": "spec", "Recipe": "spec", "Run": "artifacts.run"}

if TYPE_CHECKING:
    from diptych.api import (
        Prediction,
        benchmark,
        build,
        check_data,
        compare,
        compare_runs,
        describe,
        evaluate,
        export,
        predict,
        replay,
        resume,
        train,
        transfer,
        verify,
    )
    from diptych.artifacts.run import Run
    from diptych.errors import DiptychError
    from diptych.spec import ModelSpec, Recipe


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'diptych' has no attribute '{name}'")
    return getattr(import_module(f"diptych.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
