"""Events survive crashes: what was written is read, what was half written is not."""

import pytest

from diptych.artifacts.events import EventLog, read_events, rewind
from diptych.errors import ArtifactError


def test_events_are_read_in_order_while_the_log_is_open(tmp_path):
    path = tmp_path / "run" / "events.jsonl"
    with EventLog(path) as log:
        log.write("start", {"engine": "torch"})
        log.write("epoch", {"epoch": 1, "train_loss": 0.5})
        events = read_events(path)
    assert ["start", "epoch"] == [event["kind"] for event in events]
    assert [1] == [event["epoch"] for event in read_events(path, kind="epoch")]
    assert events[0]["time"] <= events[1]["time"]


def test_a_reopened_log_goes_on_after_the_last_whole_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "start"}\n{"kind": "epo')
    assert [{"kind": "start"}] == read_events(path)
    with EventLog(path) as log:
        log.write("resume", {})
    assert ["start", "resume"] == [event["kind"] for event in read_events(path)]


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


def test_any_text_stays_on_one_line_and_a_loss_that_is_not_a_number_is_null(tmp_path):
    text = "first\nsecond\u2028third"
    with EventLog(tmp_path / "events.jsonl") as log:
        log.write("note", {"text": text, "loss": float("nan")})
    (event,) = read_events(tmp_path / "events.jsonl")
    assert (text, None) == (event["text"], event["loss"])


EPOCHS = [{"epoch": epoch, "train_loss": 1 / epoch} for epoch in (1, 2, 3)]


def log_of(path, *events):
    with EventLog(path) as log:
        for kind, fields in events:
            log.write(kind, fields)
    return path


def test_a_rewound_log_has_the_epochs_of_the_checkpoint_and_all_else(tmp_path):
    events = [("start", {}), *(("epoch", epoch) for epoch in EPOCHS), ("early_stop", {"epoch": 3}), ("note", {})]
    path = log_of(tmp_path / "events.jsonl", *events)
    before = path.read_bytes().splitlines()
    rewind(path, EPOCHS[:2])
    assert [*before[:3], before[5]] == path.read_bytes().splitlines()
    unchanged = path.stat()
    rewind(path, EPOCHS[:2])
    assert (unchanged.st_ino, unchanged.st_mtime_ns) == (path.stat().st_ino, path.stat().st_mtime_ns)


def test_an_epoch_that_a_crash_kept_from_the_log_is_added(tmp_path):
    rewind(tmp_path / "absent.jsonl", EPOCHS[:1])
    assert [1] == [event["epoch"] for event in read_events(tmp_path / "absent.jsonl")]
    path = log_of(tmp_path / "events.jsonl", ("epoch", EPOCHS[0]))
    rewind(path, EPOCHS)
    assert EPOCHS == [{name: event[name] for name in EPOCHS[0]} for event in read_events(path, "epoch")]


def test_a_rewound_log_has_lost_what_is_no_event_and_says_so(tmp_path):
    path = log_of(tmp_path / "events.jsonl", ("epoch", EPOCHS[0]), ("epoch", EPOCHS[1]))
    path.write_bytes(path.read_bytes().replace(b'{"kind"', b'{"kin\xff', 1) + b'{"kind": "torn')
    rewind(path, EPOCHS[:2])
    assert [2, 1] == [event["epoch"] for event in read_events(path, "epoch")]
    assert [1] == [event["lines"] for event in read_events(path, "damaged_events")]
