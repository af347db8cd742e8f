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

_HOMES = {
    "DiptychError": "errors",
    "ModelSpec": "spec",
    "Prediction": "api",
    "Recipe": "spec",
    "Run": "artifacts.run",
    "build": "api",
    "evaluate": "api",
    "predict": "api",
    "resume": "api",
    "train": "api",
    "verify": "api",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605

if TYPE_CHECKING:
    from diptych.api import Prediction, build, evaluate, predict, resume, train, verify
    from diptych.artifacts.run import Run
    from diptych.errors import DiptychError
    from diptych.spec import ModelSpec, Recipe


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'diptych' has no attribute '{name}'")
    return getattr(import_module(f"diptych.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
