"""Events survive crashes: what was written is read, what was half written is not."""

import pytest

from diptych.artifacts.events import append_event, read_events, rewind
from diptych.errors import ArtifactError

EPOCHS = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "events.jsonl"


def test_events_are_read_in_order_and_without_a_half_written_line(path):
    append_event(path, "start", {"engine": "torch"})
    append_event(path, "epoch", EPOCHS[0])
    with path.open("ab") as file:
        file.write(b'{"kind": "epo')
    events = read_events(path)
    assert ["start", "epoch"] == [event["kind"] for event in events]
    assert [1] == [event["epoch"] for event in read_events(path, kind="epoch")]
    assert events[0]["time"] <= events[1]["time"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b'{"kind": "start"}\n{"kind": "epo\n{"kind": "end"}\n', "line 2 is not JSON"),
        (b"[1]\n", "line 1 is not an event with a 'kind'"),
        (None, "No such file"),
    ],
)
def test_a_broken_log_is_named_with_its_line(tmp_path, content, fault):
    path = tmp_path / "events.jsonl"
    if content:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"Cannot read '.*events\.jsonl': {fault}"):
        read_events(path)


def test_any_text_stays_on_one_line_and_a_loss_that_is_not_a_number_is_null(path):
    text = "first\nsecond\u2028third"
    append_event(path, "note", {"text": text, "loss": float("nan")})
    (event,) = read_events(path)
    assert (text, None) == (event["text"], event["loss"])


def test_a_rewound_log_has_the_epochs_of_the_checkpoint_and_all_else(path):
    for kind, fields in [("start", {}), *(("epoch", epoch) for epoch in EPOCHS), ("early_stop", {}), ("note", {})]:
        append_event(path, kind, fields)
    before = path.read_bytes().splitlines()
    rewind(path, EPOCHS[:2])
    assert [*before[:3], before[5]] == path.read_bytes().splitlines()
    unchanged = path.stat()
    rewind(path, EPOCHS[:2])
    assert (unchanged.st_ino, unchanged.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)


@pytest.mark.parametrize("num_logged", [0, 1])
def test_an_epoch_that_a_crash_kept_from_the_log_is_added(path, num_logged):
    for epoch in EPOCHS[:num_logged]:
        append_event(path, "epoch", epoch)
    rewind(path, EPOCHS)
    assert EPOCHS == [{name: event[name] for name in EPOCHS[0]} for event in read_events(path, "epoch")]


def test_a_rewound_log_has_lost_what_is_no_event_and_says_so(path):
    for epoch in EPOCHS[:2]:
        append_event(path, "epoch", epoch)
    path.write_bytes(path.read_bytes().replace(b'{"kind"', b'{"kin\xff', 1) + b'{"kind": "torn')
    rewind(path, EPOCHS[:2])
    assert [2, 1] == [event["epoch"] for event in read_events(path, "epoch")]
    assert [1] == [event["lines"] for event in read_events(path, "damaged_events")]
