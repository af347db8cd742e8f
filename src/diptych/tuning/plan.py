"""An estimate of what a study will cost, from a few steps and predictions in each framework."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import numpy as np

from diptych import engines
from diptych.comparison.costs import MAX_IMAGES, STEPS, full_batches
from diptych.data.batches import batch_bounds
from diptych.spec.init import initial_weights
from diptych.training import provenance
from diptych.training.machine import times
from diptych.tuning.session import DEFAULT_TRIALS, Session
from diptych.tuning.study import REDUCTION, Settings
from diptych.tuning.trainer import kept

SECONDS_OF_TRIAL = 2.0
"""Time of a trial that is not spent in epochs: building the model, checkpoints, the last evaluation."""
SECONDS = 0.5


def epoch_seconds(settings: Settings, engine_name: str, threads: int) -> float:
    """Measure a few steps of the recipe in force in this process, and a prediction; return the time of an epoch."""
    engine, dataset, spec = engines.get(engine_name), kept(), settings.base.spec
    engine.configure(threads)
    recipe = provenance.resolve(settings.base.recipe, dataset, engine.runtime()["device"])
    model = engine.build(spec, recipe.precision)
    engine.load_weights(model, initial_weights(spec.arrays, settings.seed))
    optimizer, batches = engine.make_optimizer(model, recipe), full_batches(dataset, recipe, settings.seed)
    seconds = []
    for _ in range(3):  # the first one compiles
        start = time.perf_counter()
        engine.train_epoch(model, optimizer, islice(batches, STEPS), [1e-9] * STEPS, settings.seed)
        seconds.append((time.perf_counter() - start) / STEPS)
    images = dataset.validation.images[:MAX_IMAGES]
    predicting = float(np.median(times(lambda: engine.predict(model, images), SECONDS))) / len(images)
    num_steps = len(batch_bounds(len(dataset.train), recipe.batch_size))
    return min(seconds[1:]) * num_steps + predicting * len(dataset.validation)


def expected_share(settings: Settings) -> float:
    """Return the share of all epochs that are trained if each rung stops as many trials as the pruner means to."""
    share, left = 0.0, 1.0
    for rung in settings.rungs:
        share += left * (1 - 1 / REDUCTION) * rung / settings.epochs
        left /= REDUCTION
    return share + left


def rows(session: Session) -> list[dict[str, Any]]:
    """Return trainings, epochs and seconds of the trials, and of the finalists in each engine; trains nothing."""
    settings, options, first = session.settings, session.options, session.first
    trials = options.trials or DEFAULT_TRIALS
    finalists = (options.finalists + 1) * options.seeds if options.finalists else 0
    wanted = [("trials", first, trials, expected_share(settings))]
    wanted += [("finalists", one, finalists, 1.0) for one in session.finals_trainers.values() if finalists]
    found, seconds = [], dict[str, float]()
    for what, trainer, num, share in wanted:
        if trainer.engine not in seconds:
            process = trainer.keeping(session.dataset)
            seconds[trainer.engine] = process.call(epoch_seconds, settings, trainer.engine, trainer.threads)
        epochs = round(num * settings.epochs * share)
        total = epochs * seconds[trainer.engine] + num * SECONDS_OF_TRIAL
        found.append({"what": f"{what}, {trainer.engine}", "trainings": num, "epochs": epochs, "seconds": total})
    return found
