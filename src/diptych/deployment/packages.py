"""What has to be installed for a file to be written, read or run."""

from __future__ import annotations

from importlib.util import find_spec

from diptych.errors import MissingEngine

_EXTRAS = {"torch": "torch", "tensorflow": "tensorflow", "h5py": "tensorflow", "openvino": "openvino"}


def missing(packages: tuple[str, ...]) -> list[str]:
    """Packages that are not installed."""
    return [package for package in packages if find_spec(package) is None]


def check_installed(what: str, packages: tuple[str, ...]) -> None:
    """Refuse to go on without what is needed.

    Raises:
        MissingEngine: says what to install.
    """
    for package in missing(packages):
        extra = _EXTRAS.get(package, "export")
        raise MissingEngine(
            f"{what} needs the package '{package}', which is not installed: pip install 'diptych[{extra}]'."
        )
