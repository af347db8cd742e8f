"""Events survive crashes: what was written is read, what was half written is not."""

import pytest

from diptych.artifacts.events import EventLog, read_events
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


def test_a_loss_that_is_not_a_number_is_null(tmp_path):
    with EventLog(tmp_path / "events.jsonl") as log:
        log.write("epoch", {"train_loss": float("nan")})
    assert '"train_loss": null' in (tmp_path / "events.jsonl").read_text()


def test_a_text_with_line_breaks_stays_on_one_line(tmp_path):
    text = "first\nsecond\u2028third"
    with EventLog(tmp_path / "events.jsonl") as log:
        log.write("note", {"text": text})
    assert [text] == [event["text"] for event in read_events(tmp_path / "events.jsonl")]


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "start"}\n{"kind": "epo')
    assert [{"kind": "start"}] == read_events(path)


def test_a_reopened_log_goes_on_after_the_last_whole_line(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "start"}\n{"kind": "epo')
    with EventLog(path) as log:
        log.write("resume", {})
    assert ["start", "resume"] == [event["kind"] for event in read_events(path)]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind": "start"}\n{"kind": "epo\n{"kind": "end"}\n')
    with pytest.raises(ArtifactError, match=r"events\.jsonl': line 2 is not JSON"):
        read_events(path)


def test_a_line_that_is_no_event_is_named(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"[1]\n")
    with pytest.raises(ArtifactError, match="line 1 is not an event with a 'kind'"):
        read_events(path)


def test_a_missing_log_is_an_artifact_error(tmp_path):
    with pytest.raises(ArtifactError, match=r"Cannot read '.*events\.jsonl': No such file"):
        read_events(tmp_path / "events.jsonl")
