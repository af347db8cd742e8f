"""diptych: one image classifier, two frameworks, proven equal.

    import diptych

    run = diptych.train("digits", engine="torch")
    diptych.evaluate(run, engine="tensorflow")["accuracy"]
    diptych.predict(run, "photos/*.png")
    diptych.build("resnet20", engine="torch")  # a plain nn.Module

Importing it imports no framework; each function is imported when it is first used.
"""

from importlib import import_module

TYPE_CHECKING = False  # `typing` imports modules before `__main__` has protected them from files of the same name

__version__ = "0.2.0.dev0"

_NAMES = {
    "api.code": "code",
    "api.comparison": "compare compare_runs",
    "api.data_check": "check_data",
    "api.deployment": "benchmark describe export",
    "api.inference": "Prediction evaluate predict",
    "api.models": "build transfer verify",
    "api.training": "resume train",
    "api.tuning": "tune",
    "artifacts.run": "Run load",
    "errors": "DiptychError",
    "spec": "ModelSpec Recipe",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = [
    "DiptychError",
    "ModelSpec",
    "Prediction",
    "Recipe",
    "Run",
    "benchmark",
    "build",
    "check_data",
    "code",
    "compare",
    "compare_runs",
    "describe",
    "evaluate",
    "export",
    "load",
    "predict",
    "resume",
    "train",
    "transfer",
    "tune",
    "verify",
]

if TYPE_CHECKING:
    from diptych.api.code import code
    from diptych.api.comparison import compare, compare_runs
    from diptych.api.data_check import check_data
    from diptych.api.deployment import benchmark, describe, export
    from diptych.api.inference import Prediction, evaluate, predict
    from diptych.api.models import build, transfer, verify
    from diptych.api.training import resume, train
    from diptych.api.tuning import tune
    from diptych.artifacts.run import Run, load
    from diptych.errors import DiptychError
    from diptych.spec import ModelSpec, Recipe


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'diptych' has no attribute '{name}'")
    return getattr(import_module(f"diptych.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return [*_MODULES, "__version__"]
