"""Callbacks of a training: what they are told, and how they end it."""

import pytest

import diptych
from diptych.artifacts.events import read_events

MANY_STEPS = {"batch_size": 4, "epochs": 3, "threads": 1, "precision": "float32", "progress": False}
EPOCH = {"epoch", "train_loss", "validation_accuracy", "learning_rate", "seconds"}


@pytest.mark.parametrize(("kind", "epochs"), [("epoch", [1, 2]), ("step", [1, 2])])
def test_a_callback_that_returns_true_ends_the_training_which_is_then_finished(kind, epochs, engine_name, tmp_path):
    told = []

    def ends_in_the_second_epoch(kind_told, fields):
        told.append((kind_told, fields))
        return kind_told == kind and fields["epoch"] == 2

    # Accidental results, such as that of `append` or `setdefault`, end nothing.
    callbacks = [ends_in_the_second_epoch, lambda *event: "yes"]
    run = diptych.train("digits", engine=engine_name, out=tmp_path, callbacks=callbacks, stop_after=2, **MANY_STEPS)
    assert ("finished", epochs) == (run.read_record().status, [row["epoch"] for row in run.history])
    (stop,) = read_events(run.events_path, "early_stop")
    assert (2, "callback") == (stop["epoch"], stop["reason"])
    assert EPOCH <= {*next(fields for kind, fields in told if kind == "epoch")}
    step = [fields for kind, fields in told if kind == "step"][-1]
    assert {"epoch", "step", "steps", "images_per_second"} == {*step}
    kinds = [*dict.fromkeys(kind for kind, _ in told)]
    assert ["start", "dataset", "parameters", "step"] == kinds[:4]
    assert ("end", run.read_metrics()) == (kinds[-1], told[-1][1]["metrics"])
    assert run.build(engine_name) is not None


@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), diptych.DiptychError("mine")], ids=["own", "diptych's"])
def test_an_error_in_a_callback_stops_the_training_and_its_state_is_saved(error, tmp_path):
    def fails(kind, fields):
        if kind == "step":
            raise error

    with pytest.raises(type(error), match="mine"):
        diptych.train("digits", out=tmp_path, callbacks=fails, **MANY_STEPS)
    run = diptych.load(tmp_path)
    assert ("stopped", []) == (run.read_record().status, run.history)
    assert [*run.checkpoints_dir.iterdir()]
    assert 3 == len(diptych.resume(run.directory, progress=False).history)


def test_what_is_no_function_is_refused_before_there_is_a_run(tmp_path):
    with pytest.raises(
        diptych.DiptychError, match="A callback must be a function of an event's kind and fields, got 7"
    ):
        diptych.train("digits", out=tmp_path, callbacks=[print, 7])
    assert not [*tmp_path.iterdir()]


def test_a_comparison_names_the_group_of_its_trainings_which_a_callback_cannot_end(tmp_path):
    told = []

    def ends_an_epoch(kind, fields):
        told.append((kind, fields))
        return kind == "epoch"

    with pytest.raises(diptych.DiptychError, match="A callback cannot end a training of a comparison"):
        diptych.compare("digits", out=tmp_path, seeds=1, callbacks=ends_an_epoch, **MANY_STEPS)
    (start,) = [fields for kind, fields in told if kind == "start"]
    assert start["group"].startswith("compare-digits-cnn-aligned-")
    assert ("end", "stopped") == (told[-1][0], told[-1][1]["status"])
