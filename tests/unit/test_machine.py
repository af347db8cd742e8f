"""What a run's record says of the machine and of the packages is so."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest

import diptych
from diptych.training.machine import PACKAGES, computes_bfloat16, machine, versions

CPUINFO = Path("/proc/cpuinfo")


def test_the_machine_is_described_in_plain_json():
    found = machine()
    assert {"processor", "cores", "system", "python"} == found.keys()
    assert os.cpu_count() == found["cores"]
    assert platform.python_version() == found["python"]
    assert found["processor"]
    assert found == json.loads(json.dumps(found))


def test_versions_are_those_of_the_installed_packages():
    found = versions()
    assert diptych.__version__ == found["diptych"]
    assert version("numpy") == found["numpy"]
    assert set(found) <= set(PACKAGES)


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux tells what its processor can do in /proc/cpuinfo")
def test_bfloat16_is_claimed_exactly_where_the_processor_lists_it():
    listed = {"avx512_bf16", "amx_bf16", "bf16"} & set(CPUINFO.read_text().split())
    assert bool(listed) == computes_bfloat16()
