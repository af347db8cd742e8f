"""What `diptych.build` returns: a plain model with repeatable weights that takes only the images it was built for."""

import numpy as np
import pytest
import tiny

import diptych
from diptych.errors import UsageError
from diptych.spec.init import initial_weights

pytestmark = pytest.mark.filterwarnings("ignore")  # Keras warns about its own calls
# Number formats and largest values of images that each kind of model takes and refuses.
BYTES, LONGS, LEVELS, SHARES = ("uint8", 255), ("int64", 255), ("float32", 255), ("float32", 1)
ACCEPTED = {"uint8": [BYTES], "0-255": [BYTES, LONGS, LEVELS], "0-1": [SHARES]}
REFUSED = {"uint8": [LONGS, LEVELS, SHARES, ("float64", 1), ("bool", 1)], "0-255": [], "0-1": [BYTES, LONGS]}


@pytest.fixture
def logits(engine_name):
    """A function from a plain model and an array to logits, as a user of the framework calls it."""
    if engine_name == "tensorflow":
        return lambda model, array: np.array(model(array, training=False))
    import torch

    return lambda model, array: model.eval()(torch.from_numpy(array)).detach().numpy()


def test_initial_weights_are_those_of_the_spec_and_seed(engine_name, engine):
    spec = tiny.branching()
    for seed, settings in ((0, {}), (0, {"seed": 0}), (7, {"seed": 7})):
        expected = {name: array.astype("float32") for name, array in initial_weights(spec.arrays, seed).items()}
        tiny.assert_same_arrays(expected, engine.read_weights(diptych.build(spec, engine_name, **settings)))


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("images", ACCEPTED)
@pytest.mark.parametrize("make", [tiny.conv_net, tiny.branching])
def test_images_are_taken_by_name_and_others_refused(engine_name, engine, logits, make, images, precision):
    spec = make()
    model = diptych.build(spec, engine_name, precision=precision, images=images)
    pixels_nhwc = tiny.images(spec, 4)
    own = engine.build(spec, precision)
    engine.load_weights(own, engine.read_weights(model))
    expected_nk = engine.predict(own, pixels_nhwc)
    for dtype, white in ACCEPTED[images]:
        found_nk = logits(model, (pixels_nhwc / 255 * white).round(0 if white == 255 else 9).astype(dtype))
        np.testing.assert_allclose(found_nk, expected_nk, atol=0.1 if precision == "bfloat16" else 1e-4)
    for dtype, white in REFUSED[images]:
        with pytest.raises((TypeError, ValueError), match=dtype):
            logits(model, (pixels_nhwc / 255 * white).round(0 if white == 255 else 9).astype(dtype))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "0..1"}, "'images' must be one of uint8, 0-255, 0-1, got '0..1'"),
        ({"precision": "int8"}, "'precision' must be one of float32, float64, bfloat16, float16, got 'int8'"),
        ({"seed": -1}, "'seed' must be an integer >= 0, got -1"),
        ({"input_range": (0, 1)}, "'input_range'"),
    ],
)
def test_an_option_that_does_not_exist_is_rejected(engine_name, options, message):
    with pytest.raises(UsageError, match=message):
        diptych.build("mlp", engine_name, **options)
