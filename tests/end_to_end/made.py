"""A finished run without a training, equal on every processor: random features, and a last layer solved for."""

import numpy as np
from finished import record_of

from diptych.artifacts.run import Predictions, Run
from diptych.artifacts.store import write_arrays, write_json
from diptych.engines.session import session
from diptych.evaluation import evaluate_logits
from diptych.spec import Recipe, zoo
from diptych.spec.codec import model_to_json, recipe_to_json
from diptych.spec.init import initial_weights

SHARPNESS = 8.0
"""Scale of the logits: classes are well apart, and rounding in float32 stays below 1e-5."""


def make_run(parent, digits):
    """The run of a CNN that recognizes digits."""
    spec = zoo.model("cnn", digits.image_shape, 10, (0.5,), (0.25,))
    weights = {name: array.astype(np.float32) for name, array in initial_weights(spec.arrays, 0).items()}
    record = record_of(
        data={
            "data": "digits",
            "name": "digits",
            "fingerprint": digits.fingerprint,
            "test_fingerprint": digits.test_fingerprint,
        },
        class_names=digits.class_names,
        split_sizes={name: len(getattr(digits, name)) for name in ("train", "validation", "test")},
        spec=model_to_json(spec),
        recipe=recipe_to_json(Recipe(precision="float32", flip="none")),
    )
    run = Run.create(parent, "made", record)
    with session("torch", 1) as engine:
        engine.build(spec, "float32")
        weights |= solved(engine, weights, digits.train)
        write_run(run, engine, weights, digits.test)
    return run


def solved(engine, weights, train):
    """The last layer that separates the classes, by ridge regression on the layer before."""
    engine.load_weights(weights)
    features_nf = engine.layer_outputs(train.images[:], training=False)["relu"].astype(np.float64)
    targets_nk = SHARPNESS * np.eye(10)[train.labels]
    inputs_nf = np.hstack([features_nf, np.ones((len(features_nf), 1))])
    ridge = 1e-4 * np.trace(inputs_nf.T @ inputs_nf) / inputs_nf.shape[1] * np.eye(inputs_nf.shape[1])
    solution_fk = np.linalg.solve(inputs_nf.T @ inputs_nf + ridge, inputs_nf.T @ targets_nk)
    return {"fc2.weight": solution_fk[:-1].T.astype(np.float32), "fc2.bias": solution_fk[-1].astype(np.float32)}


def write_run(run, engine, weights, test):
    """Weights, and the predictions and metrics that follow from them."""
    engine.load_weights(weights)
    logits_nk = engine.predict(test.images[:])
    write_arrays(run.model_path, weights, {"format": "pt"})
    write_json(run.metrics_path, evaluate_logits(logits_nk, test.labels, run.read_record().class_names))
    run.write_predictions(Predictions(logits_nk, test.labels, test.ids))
    run.seal()
