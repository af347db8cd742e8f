"""Only the engines import a framework, and `import diptych` costs next to nothing: asked of fresh processes."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

import diptych
from diptych.cli import VERBS

PACKAGE = Path(diptych.__file__).parent
FRAMEWORKS = {"torch", "tensorflow", "keras", "jax"}
REPORT = f"import sys; print('LOADED', *sorted({FRAMEWORKS!r} & set(sys.modules)))"
HEAVY = "import sys; print('LOADED', *sorted({'numpy', 'scipy', 'sklearn', 'cv2', 'rich'} & set(sys.modules)))"
# Each takes a tenth of a second and more; what wants one imports it when it is used.
SLOW = {"scipy.special", "scipy.stats", "scipy.optimize", "sklearn", "matplotlib", "tensorboard"}
SLOW_REPORT = f"import sys; print('LOADED', *sorted({SLOW!r} & set(sys.modules)))"
LISTS = ("models", "datasets", "recipes", "differences")
MOST_SECONDS = 0.1


def shared_modules():
    """Every module that belongs to neither framework and is not there to be run."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("diptych", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        a_frameworks_own = re.match(r"diptych\.(engines|deployment\.runtimes)\.(torch|tensorflow)\b", module)
        if not a_frameworks_own and not module.endswith("__main__"):
            yield module


def run(code):
    """Standard output of a fresh Python that runs `code`."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_no_module_outside_the_engines_and_their_runtimes_imports_a_framework():
    modules = list(shared_modules())
    assert {"diptych", "diptych.api", "diptych.engines.session", "diptych.training.fit"} <= set(modules)
    assert "LOADED\n" == run(f"from importlib import import_module\nfor m in {modules}: import_module(m)\n{REPORT}")


def test_importing_diptych_imports_nothing_heavy():
    assert "LOADED\n" == run(f"import diptych; {HEAVY}")


def test_the_report_sees_a_framework_that_is_loaded():
    assert "LOADED torch\n" == run(f"import sys, types; sys.modules['torch'] = types.ModuleType('torch'); {REPORT}")


@pytest.mark.parametrize(
    "asked", [("--help",), *((verb, "--help") for verb in VERBS), *((verb,) for verb in LISTS)], ids=" ".join
)
def test_help_and_lists_import_no_framework_and_nothing_slow(asked):
    called = f"from diptych.cli import main\ntry: main({list(asked)})\nexcept SystemExit: pass"
    assert run(f"{called}\n{REPORT}\n{SLOW_REPORT}").endswith("LOADED\nLOADED\n")


def test_the_report_sees_what_is_slow():
    assert "LOADED scipy.special\n" == run(f"import scipy; scipy.special.betaincinv; {SLOW_REPORT}")


def test_importing_diptych_takes_under_a_tenth_of_a_second():
    assert _best_of_five("import diptych") - _best_of_five("pass") < MOST_SECONDS


def _best_of_five(code):
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        run(code)
        seconds.append(time.perf_counter() - start)
    return min(seconds)
