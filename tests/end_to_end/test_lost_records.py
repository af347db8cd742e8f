"""A run whose files are gone or emptied is answered in one line, and never silently begun anew."""

import shutil
from functools import cache

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
def begun(tmp_path_factory):
    """A function that gives a run of two epochs out of three."""

    @cache
    def made():
        asked = ("digits", "--model", "mlp", "--precision", "float32", "--epochs", 3, "--stop-after", 2)
        (run,) = train(*asked, "--out", tmp_path_factory.mktemp("runs"))
        return run

    return made


@pytest.fixture
def run(begun, tmp_path):
    return Run(shutil.copytree(begun().directory, tmp_path / "run"))


def refused(*arguments):
    told = diptych("train", *arguments, *ONE_THREAD)
    assert (2, "", 1) == (told.code, told.out, len(told.err.splitlines())), told
    print(f"\n{told.err.strip()}")
    return told.err


def test_without_checkpoints_it_does_not_start_over_unless_forced(run):
    shutil.rmtree(run.checkpoints_dir)
    assert "there is no checkpoint, though 2 epochs were logged" in refused("--resume", run.directory)
    assert 2 == len(read_events(run.events_path, "epoch"))
    train("--resume", run.directory, "--force")
    assert [1, 2, 3] == [event["epoch"] for event in read_events(run.events_path, "epoch")]
    (forced,) = run.read_record().forced
    assert "though 2 epochs were logged" in forced.differences[0]
    assert 3 == len(checkpoint.load(run).epochs)


@pytest.mark.parametrize("remedy", ["resumed", "removed"])
def test_a_comparison_says_what_to_do_with_a_run_of_its_own_that_lost_its_checkpoints(remedy, tmp_path):
    wanted = ("--model", "mlp", "--precision", "float32", "--epochs", 2, "--seeds", 1, "--no-thorough", *ONE_THREAD)
    recipe = Recipe(epochs=2, precision="float32")
    designed = design("digits", model="mlp", recipe=recipe, seeds=1, threads=1, out=tmp_path)
    begun = designed.create(designed.cells[0])
    train("--resume", begun.directory, "--stop-after", 1)
    shutil.rmtree(begun.checkpoints_dir)
    told = diptych("compare", "digits", *wanted, "--out", tmp_path, "--json")
    assert (2, "", 1) == (told.code, told.out, len(told.err.splitlines())), told
    print(f"\n{told.err.strip()}")
    advice = f"remove the run and train again, or resume anyway with `diptych train --resume {begun.directory} "
    assert f"{advice}--force`." in told.err
    if remedy == "removed":
        shutil.rmtree(begun.directory)
    else:
        train("--resume", begun.directory, "--force")
    status = {"removed": "new", "resumed": "finished"}[remedy]
    assert [status, "new"] == [planned.status for planned in designed.plan()]


def test_a_record_that_says_nothing_is_named(run):
    run.record_path.write_text("{}")
    assert "'version' is missing. Restore the file" in refused("--resume", run.directory)


def test_a_diverged_run_without_a_word_of_how_is_refused(run):
    amend(run, status="diverged")
    assert "has diverged, and would again" in refused("--resume", run.directory)


def test_a_log_that_cannot_be_written_is_named(run):
    (run.directory / "log.txt").unlink(missing_ok=True)
    (run.directory / "log.txt").mkdir()
    assert f"Cannot write '{run.directory / 'log.txt'}': Is a directory" in refused("--resume", run.directory)


def test_a_split_that_is_empty_is_refused_where_the_recipe_looks_at_it(tmp_path):
    source = provenance.Source.of("digits", validation_fraction=0.0)
    dataset = source.load()
    spec, recipe = zoo.model("mlp", dataset.image_shape, dataset.num_classes), Recipe(keep_best=True)
    with pytest.raises(SpecError, match=r"'digits' has no validation samples .*Raise validation_fraction"):
        provenance.create(tmp_path / "runs", "run", source, dataset, spec, recipe, 0, "torch")
    assert not (tmp_path / "runs").exists()
