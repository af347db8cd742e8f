"""File systems that are too small, or may not be written to."""

import subprocess

import pytest


@pytest.fixture
def mounted(tmp_path):
    """A function that gives a folder on a small file system of its own, and one that mounts it anew with options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            pytest.skip(f"LEFT OUT: no real small disk, because there is no program to mount one ({error})")
        if done.returncode:
            pytest.skip(f"LEFT OUT: no real small disk, because this user may not mount one: {done.stderr.strip()}")
        return folder

    yield mount
    subprocess.run(["umount", folder], capture_output=True, check=False)
