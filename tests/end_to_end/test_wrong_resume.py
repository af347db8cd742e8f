"""A training resumes only from what it began with and what it saved, unless it is forced; then that is recorded."""

import shutil
from dataclasses import replace

import msgspec
import pytest
from commands import ONE_THREAD, diptych, refused, train, write_split
from finished import amend

from diptych.api.comparison import design
from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.errors import SpecError
from diptych.spec import Recipe, zoo
from diptych.training import checkpoint, provenance

SETTINGS = ("--model", "mlp", "--image-size", 8, "--epochs", 3, "--batch-size", 16, "--precision", "float32")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, digits):
    """A folder with data, and a run that stopped in its second epoch, after three of its six steps."""
    root = tmp_path_factory.mktemp("stopped")
    write_split(root / "digits" / "train", digits.train.take(range(160)))
    options = ("--checkpoint-steps", 3, "--keep-checkpoints", 9, "--stop-after", 2)
    (run,) = train(root / "digits", *SETTINGS, *options, "--out", root / "runs")
    for path in sorted(run.checkpoints_dir.iterdir())[4:]:
        shutil.rmtree(path)
    assert (1, 3) == checkpoint.load(run).place
    return root


@pytest.fixture
def run(stopped, tmp_path):
    """A copy of the run, over a copy of its data in `tmp_path`."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)
    run = Run.open(tmp_path / "runs")
    amend(run, data={**msgspec.to_builtins(run.read_record().data), "data": str(tmp_path / "digits")})
    return run


def changed(run):
    """The error that names what has changed."""
    line = refused("train", "--resume", run.directory)
    assert line.startswith(f"diptych: Cannot resume '{run.directory}': ")
    assert "Undo the changes, remove the run and train again, or resume anyway with" in line
    assert line.endswith(" --force`.")
    return line


def test_every_change_is_named_at_once(run, tmp_path):
    state, record = checkpoint.load(run), run.read_record()
    checkpoint.save(run, replace(state, origin={**state.origin, "version": "1.13.1"}))
    (tmp_path / "digits/train/3").rename(tmp_path / "digits/train/three")
    amend(run, recipe={**record.recipe_json, "precision": "float64", "momentum": 0.5})
    line = changed(run)
    for words in ("fingerprint was", "classes were", "precision was float32, is float64", "momentum was 0.9, is 0.5"):
        assert words in line
    assert "torch was 1.13.1, is " in line
    assert "stopped" == run.read_record().status


def test_a_forced_resume_with_fewer_images_restarts_the_epoch_and_is_recorded(run, tmp_path):
    (removed,) = (tmp_path / "digits" / "train").glob("*/0007.png")
    removed.unlink()
    assert "the training samples were " in changed(run)
    step = int(checkpoint.load(run).optimizer["step"])
    train("--resume", run.directory, "--force")
    record = run.read_record()
    assert "finished" == record.status
    ((forced,), (event,)) = record.forced, read_events(run.events_path, "forced")
    assert list(forced.differences) == event["differences"]
    assert any(words.startswith("the data's fingerprint was ") for words in event["differences"])
    (resume,) = read_events(run.events_path, "resume")
    assert (1, 0) == (resume["after_epoch"], resume["after_step"])
    num_steps = -(-record.split_sizes.train // 16)
    assert step + 2 * num_steps == checkpoint.load(run).optimizer["step"]
    assert 0 == diptych("evaluate", run.directory).code  # the record describes the data of the forced resume


def test_a_run_without_checkpoints_starts_over_only_with_force(run):
    shutil.rmtree(run.checkpoints_dir)
    assert "there is no checkpoint, though 2 epochs were logged" in refused("train", "--resume", run.directory)
    assert 2 == len(read_events(run.events_path, "epoch"))
    train("--resume", run.directory, "--force")
    assert [1, 2, 3] == [event["epoch"] for event in read_events(run.events_path, "epoch")]
    (forced,) = run.read_record().forced
    assert "though 2 epochs were logged" in forced.differences[0]
    assert 3 == len(checkpoint.load(run).epochs)


def test_a_comparison_says_how_to_continue_without_the_checkpoints_of_a_run(tmp_path):
    args = ("--model", "mlp", "--precision", "float32", "--epochs", 2, "--seeds", 1, "--no-thorough", "--json")
    recipe = Recipe(epochs=2, precision="float32")
    designed = design("digits", model="mlp", recipe=recipe, seeds=1, threads=1, out=tmp_path)
    begun = designed.create(designed.cells[0])
    train("--resume", begun.directory, "--stop-after", 1)
    shutil.rmtree(begun.checkpoints_dir)
    err = refused("compare", "digits", *args, "--out", tmp_path, *ONE_THREAD)
    advice = f"remove the run and train again, or resume anyway with `diptych train --resume {begun.directory} "
    assert f"{advice}--force`." in err
    train("--resume", begun.directory, "--force")
    assert ["finished", "new"] == [run["status"] for run in designed.plan() if run["arm"] == "aligned"]


def test_a_diverged_run_without_its_details_is_refused(run):
    amend(run, status="diverged")
    assert "it diverged and would diverge again" in refused("train", "--resume", run.directory)


def test_a_log_that_cannot_be_written_is_named(run):
    (run.directory / "log.txt").unlink(missing_ok=True)
    (run.directory / "log.txt").mkdir()
    err = refused("train", "--resume", run.directory)
    assert f"Cannot write '{run.directory / 'log.txt'}': Is a directory" in err


def test_a_recipe_that_needs_a_validation_split_refuses_data_without_one(tmp_path):
    source = provenance.DataSource.of("digits", validation_fraction=0.0)
    dataset = source.load()
    spec, recipe = zoo.model("mlp", dataset.image_shape, dataset.num_classes), Recipe(keep_best=True)
    with pytest.raises(SpecError, match=r"'digits' has no validation samples .*Raise validation_fraction"):
        provenance.create(tmp_path / "runs", "run", source, dataset, spec, recipe, "torch")
    assert not (tmp_path / "runs").exists()
