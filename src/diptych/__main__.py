"""`diptych` and `python -m diptych`: no code in the working directory runs.

`python -m` and an empty entry of PYTHONPATH put that directory first on the path; nothing is imported before it is off.
"""

import os
import sys

if __name__ == "__main__" and not sys.flags.safe_path:
    del sys.path[0]
if any(os.path.normpath(entry) == "." for entry in (os.environ.get("PYTHONPATH") or "/").split(os.pathsep)):
    sys.path[:] = [entry for entry in sys.path if entry != os.getcwd()]  # noqa: PTH109  (pathlib imports much)

from diptych.cli import main

if __name__ == "__main__":
    sys.exit(main())
