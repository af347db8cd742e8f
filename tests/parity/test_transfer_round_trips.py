"""Weights go through every kind of file, from framework to framework, and come back bit for bit."""

from dataclasses import replace

import numpy as np
import pytest

from diptych.artifacts.store import read_arrays, write_arrays
from diptych.comparison.parity import samples
from diptych.deployment import transfer as transfers
from diptych.deployment.card import Card, parity_digest
from diptych.deployment.file_types import find_card
from diptych.deployment.transfer import transfer
from diptych.engines import NAMES
from diptych.errors import ArtifactError, UsageError
from diptych.spec import zoo

GRAY = ("mlp", "fashion_cnn")
KINDS = ("cnn", "fashion_cnn", "resnet20", "resnet20_b")
WAY = ("b.pt", "c.keras", "d.pth", "e.h5", "f.safetensors", "g.weights.h5", "h.safetensors")
WAY_ON_ONE_SIDE = ("b.keras", "c.h5", "d.weights.h5", "e.keras", "f.pt", "g.pth", "h.safetensors")


@pytest.fixture(scope="module")
def workers(pair):
    return dict(zip(NAMES, pair, strict=True))


def spec_of(name):
    return zoo.model(name, (28, 28, 1) if name in GRAY else (32, 32, 3))


def drawn(spec):
    """Weights of which two are odd: no rounding on the way would leave them alone."""
    arrays = {name: array.astype(np.float32) for name, array in samples.weights(spec, seed=0).items()}
    first = next(iter(arrays.values())).reshape(-1)
    first[:2] = np.float32(1e-42), -np.float32(0.0)
    return arrays


def card_of(spec):
    names = tuple(f"class {place}" for place in range(spec.num_classes))
    return Card("safetensors", spec, names, "area", "digits", ("torch",), parity_digest(spec, drawn(spec)))


def write(path, spec, card=None):
    write_arrays(path, drawn(spec), {"diptych.json": card.to_text()} if card else {})
    return path


def assert_same_bits(expected, found):
    both = ({name: array.tobytes() for name, array in arrays.items()} for arrays in (expected, found))
    assert next(both) == next(both)


@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("mlp", WAY_ON_ONE_SIDE),
        *(pytest.param(name, WAY, marks=[] if name in KINDS else pytest.mark.long) for name in zoo.MODELS),
    ],
)
def test_transfers_through_every_format_keep_every_bit_and_the_card(name, way, workers, tmp_path):
    spec = spec_of(name)
    source = write(tmp_path / "a.safetensors", spec, card_of(spec))
    for target in map(tmp_path.joinpath, way):
        done = transfer(source, target, workers=workers)
        assert (name, len(spec.arrays), 0, 0) == (done.model, done.num_arrays, done.by_structure, done.by_map)
        found = find_card(target)
        assert card_of(spec).for_format(found.form) == found
        source = target
    assert_same_bits(drawn(spec), read_arrays(source)[0])
    assert {"a.safetensors", *way} == {path.name for path in tmp_path.iterdir()}


def test_without_a_card_classes_have_numbers(workers, tmp_path):
    spec = spec_of("mlp")
    source = write(tmp_path / "a.safetensors", spec)
    transfer(source, tmp_path / "b.pt", spec=spec, workers=workers)
    found = find_card(tmp_path / "b.pt")
    assert (tuple("0123456789"), parity_digest(spec, drawn(spec))) == (found.class_names, found.parity)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".pt"])
def test_a_named_model_other_than_the_cards_is_refused(suffix, workers, tmp_path):
    own = zoo.model("cnn", mean=(0.49, 0.48, 0.45), std=(0.2, 0.2, 0.2))
    source = write(tmp_path / "a.safetensors", own, card_of(own))
    transfer(source, tmp_path / f"b{suffix}", workers=workers)
    with pytest.raises(
        ArtifactError, match=r"is another model than cnn: .* \(pixels/255 - 0.49\) / 0.2.* / 0.25\. Leave"
    ):
        transfer(tmp_path / f"b{suffix}", tmp_path / "c.pt", spec=spec_of("cnn"), workers=workers)
    again = replace(own, name="mine")
    done = transfer(tmp_path / f"b{suffix}", tmp_path / "c.pt", spec=again, workers=workers)
    assert (len(own.arrays), 0, 0) == (done.num_arrays, done.by_structure, done.by_map)
    forced = transfer(tmp_path / "c.pt", tmp_path / "c.pt", spec=spec_of("cnn"), workers=workers, force=True)
    assert forced.remarks == find_card(tmp_path / "c.pt").remarks[-len(forced.remarks) :]
    assert forced.remarks[0].startswith("differs: layer 1 ('normalize')")


def test_what_weights_alone_do_not_say_is_said(workers, tmp_path):
    spec = spec_of("mlp")
    done = transfer(write(tmp_path / "a.safetensors", spec), tmp_path / "b.weights.h5", spec=spec, workers=workers)
    assert "not checked: activations, pooling, padding" in done.remarks[0]
    assert done.remarks == find_card(tmp_path / "b.weights.h5").remarks


def test_a_target_that_is_there_is_replaced_only_when_forced(workers, tmp_path):
    """It may be the source."""
    spec = spec_of("mlp")
    path = write(tmp_path / "a.safetensors", spec)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="already exists; use --force"):
        transfer(path, path, spec=spec, workers=workers)
    assert before == path.read_bytes()
    transfer(path, path, spec=spec, workers=workers, force=True)
    assert_same_bits(drawn(spec), read_arrays(path)[0])
    assert card_of(spec).parity == find_card(path).parity


def test_a_file_that_does_not_read_back_leaves_nothing(workers, tmp_path, monkeypatch):
    spec = spec_of("mlp")
    source = write(tmp_path / "a.safetensors", spec)

    def rounded(path, arrays, metadata):
        write_arrays(path, {**arrays, "fc3.bias": arrays["fc3.bias"].round(1)}, metadata)

    monkeypatch.setattr(transfers, "write_arrays", rounded)
    with pytest.raises(ArtifactError, match=r"'fc3\.bias' has different values when read back"):
        transfer(source, tmp_path / "b.safetensors", spec=spec, workers=workers)
    assert [source] == list(tmp_path.iterdir())
