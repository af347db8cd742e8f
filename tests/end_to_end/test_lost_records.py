"""A run whose files are lost or emptied is reported in one line, and never silently started over."""

import shutil

import pytest
from commands import ONE_THREAD, diptych, train
from finished import amend

from diptych.api.comparison import design
from diptych.artifacts.events import read_events
from diptych.artifacts.run import Run
from diptych.errors import SpecError
from diptych.spec import Recipe, zoo
from diptych.training import checkpoint, provenance


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of two epochs out of three."""
    args = ("digits", "--model", "mlp", "--precision", "float32", "--epochs", 3, "--stop-after", 2)
    return train(*args, "--out", tmp_path_factory.mktemp("runs"))[0]


@pytest.fixture
def run(stopped, tmp_path):
    return Run(shutil.copytree(stopped.directory, tmp_path / "run"))


def refused(*args):
    result = diptych(*args, *ONE_THREAD)
    assert (2, "", 1) == (result.code, result.out, len(result.err.splitlines())), result
    return result.err


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
    err = refused("compare", "digits", *args, "--out", tmp_path)
    advice = f"remove the run and train again, or resume anyway with `diptych train --resume {begun.directory} "
    assert f"{advice}--force`." in err
    train("--resume", begun.directory, "--force")
    assert ["finished", "new"] == [planned.status for planned in designed.plan()]
    shutil.rmtree(begun.directory)
    assert ["new", "new"] == [planned.status for planned in designed.plan()]


def test_a_diverged_run_without_its_details_is_refused(run):
    amend(run, status="diverged")
    assert "has diverged, and would again" in refused("train", "--resume", run.directory)


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
        provenance.create(tmp_path / "runs", "run", source, dataset, spec, recipe, 0, "torch")
    assert not (tmp_path / "runs").exists()
