"""Studies without trainings: sampling, judging, claims, limits, and what a kill leaves behind."""

import warnings
from dataclasses import replace

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from diptych.errors import ArtifactError, UsageError
from diptych.spec import Recipe, zoo
from diptych.training.provenance import DataSource
from diptych.tuning import findings
from diptych.tuning import space as spaces
from diptych.tuning.space import Base
from diptych.tuning.study import JOURNAL, MAX_REJECTED, Settings, Study

EPOCHS = 10


@pytest.fixture(autouse=True)
def _silent_optuna():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def settings(seed=0, epochs=EPOCHS, **limits):
    base = Base(Recipe(epochs=epochs, batch_size=64), zoo.model("cnn", (28, 28, 1)), 5000, is_cnn=True)
    return Settings(DataSource.of("digits"), base, spaces.space_for(base), "torch", seed, **limits)


def accuracy(trial, epoch):
    """A made-up accuracy: best at twice the usual rate."""
    return 1 - abs(trial.params["rate_factor"] - 2) / 20 - 1 / epoch / 5


def opened(folder, **changes):
    return Study(folder / "study", settings(**changes), "fingerprint")


def run(study, trials, again=lambda study: study):
    """Run trials with made-up accuracies; `again` is called wherever a process could be killed."""
    while True:
        with study.claimed(lambda of=study: of.num_started < trials) as number:
            if number is None:
                return study
            for epoch in range(1, study.settings.epochs + 1):
                value = accuracy(study.trials[number], epoch)
                is_pruned = study.judge(number, epoch, value)
                study = again(study)
                assert is_pruned == study.judge(number, epoch, value)
                if is_pruned:
                    break
            state = TrialState.PRUNED if is_pruned else TrialState.COMPLETE
            study.finish(number, state, None if is_pruned else value)
        study = again(study)


def content(study):
    names = "number", "state", "params", "values", "intermediate_values", "system_attrs"
    return [[getattr(trial, name) for name in names] for trial in study.trials]


def test_a_study_that_is_opened_anew_at_every_step_is_the_undisturbed_one(tmp_path):
    (tmp_path / "one").mkdir()
    undisturbed = run(opened(tmp_path / "one"), 20)
    other = run(opened(tmp_path), 20, lambda study: opened(tmp_path))
    assert content(undisturbed) == content(other)
    states = [trial.state for trial in undisturbed.trials]
    assert {TrialState.COMPLETE, TrialState.PRUNED} == {*states}
    assert content(undisturbed)[:12] != content(run(opened(tmp_path / "seed", seed=1), 12))


def test_the_next_trials_keep_about_half_of_what_is_in_force(tmp_path):
    study = run(opened(tmp_path), 10)
    first, *others = (trial.params for trial in study.trials)
    kept = [other.get(name) == value for other in others for name, value in first.items()]
    assert 0.4 < sum(kept) / len(kept) < 0.8  # some choices are the same by chance


def test_the_first_trial_is_what_is_in_force_and_pruning_ends_trials_at_the_rungs(tmp_path):
    study = run(opened(tmp_path), 15)
    first = study.trials[0]
    assert (1.0, 64, "adamw", "default recipe") == (
        *(first.params[name] for name in ("rate_factor", "batch_size", "optimizer")),
        first.user_attrs["note"],
    )
    assert (2, 6) == study.settings.rungs
    pruned = {trial.last_step for trial in study.trials if trial.state == TrialState.PRUNED}
    assert {2} <= pruned <= {2, 6}
    rows = [findings.trial_row(study, trial) for trial in study.trials]
    assert findings.best_so_far(rows)[-1][1] == max(row["accuracy"] for row in rows if row["state"] == "finished")
    assert findings.importance(study)
    assert 1 == pytest.approx(sum(value for _, value in findings.importance(study)))


@pytest.mark.parametrize(("epochs", "rungs"), [(1, ()), (2, (1,)), (4, (1, 3)), (8, (2, 6)), (20, (5, 15))])
def test_a_trial_may_be_pruned_after_a_quarter_and_three_quarters_of_its_epochs(epochs, rungs):
    assert rungs == settings(epochs=epochs).rungs


def test_optuna_opens_the_journal(tmp_path):
    study = run(opened(tmp_path), 3)
    backend = JournalFileBackend(str(study.directory / JOURNAL))
    loaded = optuna.load_study(study_name="study", storage=JournalStorage(backend))
    assert [trial.params for trial in study.trials] == [trial.params for trial in loaded.trials]
    assert findings.best_trial(study).number == loaded.best_trial.number


def test_a_trial_that_nobody_works_on_is_taken_over_before_a_new_one_starts(tmp_path):
    study = opened(tmp_path)
    with study.claimed(lambda: True) as first:
        other = opened(tmp_path)
        with other.claimed(lambda: True) as second, other.claimed(lambda: False) as third:
            assert (0, 1, None) == (first, second, third)
        with opened(tmp_path).claimed(lambda: True) as taken_over:
            assert 1 == taken_over
    with study.claimed(lambda: True) as taken_over:
        assert 0 == taken_over
    assert 2 == len(study.trials)


def test_half_an_entry_at_the_journals_end_is_removed(tmp_path):
    study = run(opened(tmp_path), 2)
    for number, other in enumerate((study, opened(tmp_path)), start=3):
        with (study.directory / JOURNAL).open("ab") as file:
            file.write(b'{"op_code":5,"worker_')
        assert content(study) == content(opened(tmp_path))
        assert number == len(run(other, number).trials)


def test_models_over_a_limit_are_rejected_and_do_not_count(tmp_path):
    study = run(opened(tmp_path, seed=1, max_params=500_000), 10)
    rejected = [trial for trial in study.trials if "rejected" in trial.user_attrs]
    assert rejected
    assert 10 + len(rejected) == len(study.trials)
    assert all(trial.user_attrs["num_parameters"] <= 500_000 for trial in study.trials if trial not in rejected)
    row = findings.trial_row(study, rejected[0])
    assert ("rejected", f"{row['num_parameters']:,} parameters") == (row["state"], row["note"])


def test_a_limit_that_no_candidate_meets_ends_the_study(tmp_path):
    study = opened(tmp_path, max_flops=1000)
    with pytest.raises(UsageError, match=f"{MAX_REJECTED} candidates in a row exceed the limits"):
        run(study, 1)


def test_other_data_are_no_continuation(tmp_path):
    opened(tmp_path)
    with pytest.raises(ArtifactError, match="The data at 'digits' has changed since the study"):
        Study(tmp_path / "study", settings(), "another")


def test_the_digest_follows_what_trials_follow_from():
    one = settings()
    assert one.digest == replace(one, source=DataSource.of("digits", cache="never")).digest
    assert 5 == len({one.digest, settings(1).digest, settings(epochs=3).digest, settings(max_params=9).digest,
                     replace(one, engine="tensorflow").digest})  # fmt: skip


def test_an_optimizer_of_the_first_trial_that_the_space_lacks_is_no_parameter(tmp_path):
    base = replace(settings().base, recipe=Recipe(optimizer="rmsprop"))
    study = Study(tmp_path / "study", replace(settings(), base=base), "fingerprint")
    with study.claimed(lambda: True) as number:
        assert "optimizer" not in study.trials[number].params
