"""Wherever a training that diverges stops, its last good state is there, and how it diverged, or is found again."""

import json
import os
import pickle
import subprocess
import sys
from itertools import count
from pathlib import Path

import faults
import pytest
import states

from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.processes import engine_environment
from diptych.training import checkpoint, divergence, provenance

pytestmark = pytest.mark.slow
WORK = Path(__file__).with_name("diverging.py")


@pytest.fixture(scope="module")
def diverged(tmp_path_factory):
    """A run that diverged, went on by force and diverged again; and what either changed in it."""
    root = tmp_path_factory.mktemp("diverged")
    subprocess.run([sys.executable, WORK, root], env=engine_environment("torch"), check=True)
    return Run.open(root / "run"), pickle.loads((root / "changes.pickle").read_bytes())


@pytest.mark.parametrize("kind", ["diverged", "forced"])
def test_a_stop_or_a_power_loss_at_any_change_leaves_a_good_state_and_what_happened(diverged, tmp_path, kind):
    whole, changed = diverged
    before, changes = changed[kind]
    good, record, folders = (
        checkpoint.load(whole),
        json.loads(divergence.path_of(whole).read_text()),
        (tmp_path / str(n) for n in count()),
    )
    num_states, to_be_found = 0, None
    for _, files in faults.power_losses(before, changes):
        run = Run(next(folders))
        run.directory.mkdir()
        faults.write_files(run.directory, files)
        num_states += 1
        told = []
        states.assert_equal(good, checkpoint.load(run, lambda *one, told=told: told.append(one)))
        assert [] == told
        status = run.read_record().status
        if divergence.path_of(run).exists():
            assert record == json.loads(divergence.path_of(run).read_text())
        else:
            assert status in {"stopped", "running"}
            provenance.check_unfinished(run, force=False)  # so that it can be found again
            to_be_found = run
    renames = [one.to for one in changes if one.kind == "rename"]
    assert ["run.json", "diverged.json", "run.json"] == [name for name in renames if name != "events.jsonl"]
    print(f"\n{kind}: {num_states} states in {len(changes)} changes, each with its last good checkpoint")
    assert num_states > len(changes)
    assert_found_again(to_be_found, record)


def assert_found_again(run, record):
    """Gone on with from its state, the training diverges at the same step, over the same batch, and says so."""
    command = [sys.executable, "-m", "diptych", "train", "--resume", run.directory, "--json"]
    done = subprocess.run(command, env={**os.environ, "NO_COLOR": "1"}, capture_output=True, text=True, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    assert f"The training diverged in epoch {record['epoch']} at step {record['step']} of" in done.stderr
    assert record == json.loads(divergence.path_of(run).read_text())
    assert "diverged" == run.read_record().status
    assert done.stderr.endswith(f"diptych: {read_events(run.events_path, 'diverged')[-1]['message']}\n")
    assert [] == [path for path in run.directory.rglob(".*") if path.name != ".lock"]
