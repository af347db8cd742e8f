"""Search spaces: what is read, sampled and left out, and the recipes and models that their values mean."""

import json
from dataclasses import replace

import optuna
import pytest

from diptych.errors import ArtifactError, UsageError
from diptych.spec import Recipe, zoo
from diptych.spec.codec import model_to_json
from diptych.tuning import space as spaces
from diptych.tuning.space import Base

SHAPES = [(8, 8, 1), (28, 28, 1), (64, 64, 3)]


def base(shape=(28, 28, 1), model="cnn", num_train=5000, **recipe):
    return Base(
        Recipe(**recipe).for_data(shape, mirror=False, num_train=num_train),
        zoo.model(model, shape),
        num_train,
        is_cnn=model == "cnn",
    )


def samples(space, number):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [spaces.sample(space, study.ask()) for _ in range(number)]


@pytest.fixture(autouse=True)
def _silent_optuna():
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.parametrize("model", ["cnn", "fashion_cnn", "mlp"])
@pytest.mark.parametrize("recipe", [{}, {"epochs": 1}, {"optimizer": "rmsprop", "schedule": "step"}])
def test_every_sample_of_the_default_space_is_a_valid_recipe_and_model(model, recipe):
    start = base(model=model, **recipe)
    space = spaces.space_for(start)
    recipes, models = zip(*(spaces.setup(start, values) for values in samples(space, 150)), strict=True)
    assert {start.recipe.epochs} == {one.epochs for one in recipes}
    assert len(recipes) == len(set(recipes))
    assert {"cnn": 12}.get(model, 1) == len({one.num_parameters for one in models})


def test_sampled_steps_are_the_numbers_that_people_write():
    assert {one["dropout"] for one in samples(spaces.space_for(base()), 150)} == {0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_values_of_what_is_in_force_mean_it(shape):
    start = base(shape)
    values = spaces.defaults(spaces.space_for(start), start)
    recipe, model = spaces.setup(start, values)
    assert start.spec == model
    known = {"learning_rate": start.recipe.rate, "decoupled_decay": start.recipe.decay}
    assert replace(start.recipe, **known) == recipe


IN_FORCE = [
    ({"optimizer": "rmsprop"}, {"optimizer"}),
    ({"schedule": "plateau"}, {"schedule"}),
    ({"batch_size": 48}, {"batch_size"}),
    ({"crop_padding": 9}, {"augmentation"}),
    ({"optimizer": "sgd"}, {"step_decay"}),  # whose own decay is 0
    ({"average_decay": 0.999}, {"average_share"}),  # not a step of the range
]


@pytest.mark.parametrize(("recipe", "missing"), IN_FORCE)
def test_what_the_space_lacks_of_the_recipe_in_force_has_no_value(recipe, missing):
    start = base(**recipe)
    space = spaces.space_for(start)
    names = {one.name for one in space if not one.when}
    assert missing == names - {*spaces.defaults(space, start)} - ({"step_decay"} - missing)


FIELDS = [
    ({"rate_factor": 2.0}, {"learning_rate": 0.006}),
    ({"rate_factor": 2.0, "optimizer": "sgd"}, {"learning_rate": 0.1, "decoupled_decay": None}),
    ({"step_decay": 1e-4, "optimizer": "sgd"}, {"decoupled_decay": 0.002}),
    ({"schedule": "cosine", "warmup_share": 0.1}, {"schedule": "cosine", "warmup_epochs": 1.0}),
    ({"average_share": 0.1}, {"average_decay": pytest.approx(1 - 1 / 313)}),  # a tenth of 3130 steps
    ({"average_share": 0.0}, {"average_decay": 0.0}),
    ({"augmentation": 1.0}, {"crop_padding": 4, "rotation": 0.0, "cutout": 0}),
    ({"augmentation": 2.0}, {"crop_padding": 4, "rotation": 15.0, "cutout": 14, "contrast": 0.3, "saturation": 0.0}),
    ({"mixup": 0.2, "clip_norm": 1.0}, {"mixup": 0.2, "clip_norm": 1.0}),
]


@pytest.mark.parametrize(("values", "fields"), FIELDS)
def test_a_value_stands_for_fields_of_the_recipe(values, fields):
    recipe, _ = spaces.setup(base(), values)
    assert fields == {name: getattr(recipe, name) for name in fields}


def test_a_cnn_gets_wider_deeper_and_another_dropout():
    _, model = spaces.setup(base(), {"width": 0.5, "depth": 1, "dropout": 0.1})
    filters = [layer.filters for layer in model.layers if hasattr(layer, "filters")]
    assert ([16, 32, 64], 0.1) == (filters, spaces.dropout_of(model))
    assert 6 + 3 == sum(hasattr(layer, "filters") for layer in spaces.setup(base(), {"depth": 3})[1].layers)


def test_the_cnn_is_what_it_was():
    assert model_to_json(zoo.model("cnn")) == model_to_json(zoo.model("cnn", width=1.0, depth=2))


def test_what_the_space_leaves_out_is_said():
    start = base(model="mlp")
    only = "only the built-in cnn has a width and a depth; this is 'mlp'"
    assert f"The space leaves out width, depth, dropout ({only})." == spaces.left_out(spaces.space_for(start), start)
    assert "" == spaces.left_out(spaces.space_for(base()), base())


def written(*parameters):
    return {"format": "diptych-space", "version": 1, "parameters": [*parameters]}


RATE = {"name": "learning_rate", "kind": "float", "low": 1e-4, "high": 0.1, "log": True}
RULE = {"name": "optimizer", "kind": "choice", "choices": ["sgd", "adam"]}


def test_a_space_is_read_from_a_file_or_a_dict(tmp_path):
    content = written(
        RULE, {**RATE, "when": {"optimizer": ["sgd"]}}, {"name": "depth", "kind": "int", "low": 1, "high": 4}
    )
    path = tmp_path / "space.json"
    path.write_text(json.dumps(content))
    space = spaces.read_space(path)
    assert space == spaces.read_space(content)
    drawn = samples(space, 40)
    assert {True} == {("learning_rate" in values) == (values["optimizer"] == "sgd") for values in drawn}
    assert {1, 2, 3, 4} == {values["depth"] for values in drawn}


@pytest.mark.parametrize(("model", "name"), [("mlp", "depth"), ("resnet20", "dropout")])
def test_a_parameter_that_does_not_apply_to_the_model_is_refused(model, name):
    space = written({"name": name, "kind": "float", "low": 0, "high": 0.5})
    with pytest.raises(UsageError, match=f"parameter '{name}' does not apply to the model '{model}'"):
        spaces.space_for(base((32, 32, 3), model=model), spaces.read_space(space))


WRONG = [
    ([{**RATE, "name": "lerning_rate"}], "parameter 'lerning_rate' is unknown (did you mean 'learning_rate'?)"),
    ([{**RATE, "name": "epochs"}], "parameter 'epochs' is fixed in a study"),
    ([{**RATE, "low": 1}], "needs low < high"),
    ([{**RATE, "low": 0}], "low > 0 if it is log; got [0, 0.1]"),
    ([{**RATE, "step": 0.1}], "has a 'step', which must be > 0, and which a log parameter has not"),
    ([{**RULE, "choices": []}], "parameter 'optimizer' needs 'choices'"),
    ([{**RATE, "when": {"optimizer": ["sgd"]}}, RULE], "depends on 'optimizer', which must come before it"),
    ([RATE, RATE], "parameter 'learning_rate' is there twice"),
    ([], "the space has no parameters"),
    ([{**RATE, "kind": "normal"}], "invalid enum value 'normal'"),
    ([{**RATE, "minimum": 1}], "unknown field `minimum`"),
]


@pytest.mark.parametrize(("parameters", "fault"), WRONG)
def test_a_space_with_a_fault_is_refused_in_one_line(parameters, fault, tmp_path):
    path = tmp_path / "space.json"
    path.write_text(json.dumps(written(*parameters)))
    with pytest.raises(ArtifactError) as of_file:
        spaces.read_space(path)
    with pytest.raises(UsageError) as of_dict:
        spaces.read_space(written(*parameters))
    for error in (of_file, of_dict):
        assert fault.lower() in str(error.value).lower()
        assert "\n" not in str(error.value)
