"""`diptych data check` in a process of its own or in this one: what it prints, writes, and how it exits."""

import json
import subprocess
import sys

import numpy as np
import pytest
from commands import diptych, process
from planted import BY_READERS, encoded, picture, plant, write_every_kind, write_pictures

from diptych.data.rules import KINDS


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "zoo"
    write_every_kind(root, np.random.default_rng(3))
    return root


def test_clean_data_exit_with_0_and_only_strict_counts_warnings(tmp_path):
    data, command = tmp_path / "clean", ("data", "check", tmp_path / "clean", "--out", tmp_path / "report")
    write_pictures(data / "cat", 15, np.random.default_rng(5))
    write_pictures(data / "dog", 15, np.random.default_rng(6))
    result = diptych(*command, "--strict")
    assert (0, "", "No problems in 30 images") == (result.code, result.err, result.out.splitlines()[0])
    assert (tmp_path / "report/report.html").exists()
    plant(data / "dog/again.png", (data / "dog/001.png").read_bytes())
    assert (0, 1) == (diptych(*command).code, diptych(*command, "--strict").code)


def test_the_printed_json_is_the_written_one(everything, tmp_path):
    result = process("data", "check", everything, "--json", cwd=tmp_path)
    assert (1, "") == (result.code, result.err)
    written = json.loads((tmp_path / "runs/check-zoo/findings.json").read_text())
    assert {**result.json, "created": ""} == {**written, "created": ""}
    assert [kind for kind in KINDS if kind not in BY_READERS] == [kind["kind"] for kind in result.json["kinds"]]
    assert {"error": 11, "warning": 8, "note": 5} == {
        severity: len({found["kind"] for found in result.json["findings"] if found["severity"] == severity})
        for severity in ("error", "warning", "note")
    }
    assert "runs/check-zoo/report.html" == result.json["report"]


def test_the_table_names_every_kind_and_some_examples(everything, tmp_path):
    result = process("data", "check", everything, "--out", tmp_path)
    assert (1, "") == (result.code, result.err)
    assert all(kind.title in result.out for key, kind in KINDS.items() if key not in BY_READERS)
    assert "train/dog/damaged.png" in result.out
    assert f"report: {tmp_path}/report.html" == result.out.splitlines()[-1]


def test_digits_are_clean(tmp_path):
    result = diptych("data", "check", "digits", "--out", tmp_path, "--json")
    assert (0, []) == (result.code, result.json["findings"])
    assert {"train": 1797} == result.json["num_images"]


CHECK = """
import sys, time
from diptych import check_data
from diptych.training.machine import peak_memory
check_data(sys.argv[1], out=sys.argv[2])
print(time.process_time(), peak_memory() / 2**20)
"""


def measured(root, num_images):
    """Seconds of processor and MiB that a check of so many small JPEG files takes."""
    rng, data = np.random.default_rng(num_images), root / str(num_images)
    for number in range(num_images):
        plant(data / f"{number % 10}/{number:05}.jpg", encoded(picture(rng, 32, 32), quality=95))
    command = [sys.executable, "-c", CHECK, data, root / "report"]
    seconds, memory = map(float, subprocess.run(command, capture_output=True, check=True).stdout.split())
    print(f"{num_images:,} JPEG files: {seconds:.1f} s of processor, {memory:.0f} MiB at most")
    return seconds, memory


def test_memory_hardly_grows_with_the_number_of_images(tmp_path):
    (_, few), (_, many) = (measured(tmp_path, num_images) for num_images in (400, 4_000))
    assert many - few < 16


@pytest.mark.long
def test_sixty_thousand_images_of_the_size_of_cifars_take_at_most_a_minute_on_two_cores(tmp_path):
    assert measured(tmp_path, 60_000)[0] < 2 * 60
