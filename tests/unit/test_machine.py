"""What a run's record says of the machine and of the packages is so."""

import os
from pathlib import Path
from time import sleep

import numpy as np
import pytest

import diptych
from diptych.training.machine import computes_bfloat16, machine, times, versions

CPUINFO = Path("/proc/cpuinfo")


def test_machine_and_versions_are_those_in_use():
    found = machine()
    assert (os.cpu_count(), True) == (found["cores"], bool(found["processor"]))
    assert (diptych.__version__, np.__version__) == (versions()["diptych"], versions()["numpy"])


@pytest.mark.skipif(not CPUINFO.exists(), reason="only Linux tells what its processor can do in /proc/cpuinfo")
def test_bfloat16_is_claimed_exactly_where_the_processor_lists_it():
    listed = {"avx512_bf16", "amx_bf16", "bf16"} & set(CPUINFO.read_text().split())
    assert bool(listed) == computes_bfloat16()


def test_a_processor_without_bfloat16_is_not_said_to_have_it(monkeypatch):
    monkeypatch.setattr("diptych.training.machine._cpuinfo", lambda *keys: "fpu avx2")
    assert not computes_bfloat16.__wrapped__()


def test_a_call_is_timed_until_the_time_is_over_after_a_warm_up():
    calls = []
    assert 1 < len(times(lambda: calls.append(sleep(1e-4)), 0.05)) < len(calls)
