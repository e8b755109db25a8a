"""``symbio monitor``: ingest, label, status and prune, from files to what can be said."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from symbio_lab.records import FailureRecord
from symbio_lab.store.database import Database
from symbio_lab.store.failure_reports import FailureReports


def at(days_ago: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def traffic(tmp_path: Path) -> Path:
    """Ten answers, one a day; four labelled, one of them wrong; and one row without a text."""
    rows = [
        {
            "input_sample": f"my mail is user{i}@example.org",
            "actual_output": "greet",
            "event_id": f"e{i}",
            "domain": "small talk",
            "observed_at": at(i),
            "user": f"user-{i}",
            **({"expected_output": "leave" if i == 0 else "greet"} if i < 4 else {}),
        }
        for i in range(10)
    ]
    path = tmp_path / "traffic.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {**rows[0], "input_sample": "", "event_id": "x"}])
    )
    return path


def test_from_a_file_to_a_rate(symbio: Any, traffic: Path, tmp_home: Path) -> None:
    ran = symbio("monitor", "ingest", traffic, "--model", "support")
    assert ran.code == 0
    assert "stored 10 new predictions of 11 rows" in ran.out
    assert "1 refused: empty_text" in ran.out
    assert "traffic.jsonl line 11: empty_text: the input text is empty; hint: send the text" in ran.err
    again = symbio("monitor", "ingest", traffic, "--model", "support", "--json")
    assert (again.code, again.json["num_stored"], again.json["num_duplicates"], again.json["num_refused"]) == (
        0,
        0,
        10,
        1,
    )
    assert again.json["refused"] == [
        {"row": "traffic.jsonl line 11", "code": "empty_text", "reason": "the input text is empty"}
    ]
    assert (tmp_home / "store.db").is_file()

    labels = traffic.with_name("labels.csv")
    labels.write_text("prediction_id,expected_output\ne4,greet\ne0,other\nlater,greet\n")
    told = symbio("monitor", "label", labels, "--model", "support")
    assert "stored 2 new labels of 3 rows" in told.out
    assert "1 wait for their prediction" in told.out
    assert "1 conflicts of ground truth" in told.out

    (model,) = symbio("monitor", "status", "--json").json["models"]
    assert (model["num_stored"], model["num_labelled"], model["labelled_share"]) == (10, 5, 0.5)
    rate = model["failure_rate"]
    assert (rate["value"], rate["n"], rate["method"]) == (0.2, 5, "clopper_pearson")
    assert rate["low"] < 0.2 < rate["high"]
    shown = symbio("monitor", "status", "--model", "support").out
    assert "0.2000 [" in shown
    assert "1 labels wait for their prediction" in shown
    assert "only if these were chosen by chance" in shown


def test_status_says_what_cannot_be_stated(symbio: Any, tmp_home: Path, tmp_path: Path) -> None:
    assert "nothing is stored yet" in symbio("monitor", "status").out
    assert symbio("monitor", "status", "--json").json["models"] == []
    report = FailureRecord("support", "text_classification", "d", "wrong_label", "hi", "a", "b")
    FailureReports(Database(tmp_home / "store.db")).append([report])
    rows = tmp_path / "t.jsonl"
    rows.write_text('{"input_sample": "hi", "actual_output": "a"}\n')
    symbio("monitor", "ingest", rows, "--model", "support", "--sample-share", "0.1")
    ran = symbio("monitor", "status")
    assert "no rate can be stated for the 1 failure reports" in ran.out
    assert "no failure rate can be stated: no answer has ground truth yet" in ran.out
    assert "sampled (share 0.1): the rows stand for about 10 answers" in ran.out
    (model,) = symbio("monitor", "status", "--json").json["models"]
    assert (model["failure_rate"]["value"], model["num_failure_reports"]) == (None, 1)


def test_unknown_models_and_other_tenants(symbio: Any, traffic: Path) -> None:
    symbio("monitor", "ingest", traffic, "--model", "support", "--tenant", "acme")
    assert symbio("monitor", "status", "--json").json["models"] == []
    assert symbio("monitor", "status", "--tenant", "acme", "--json").json["models"][0]["model_id"] == "support"
    ran = symbio("monitor", "status", "--model", "support", "--json")
    assert (ran.code, ran.json["error"]) == (2, "not_found")


def test_each_project_may_have_its_own_store(symbio: Any, traffic: Path, tmp_home: Path, tmp_path: Path) -> None:
    own = tmp_path / "project.db"
    symbio("monitor", "ingest", traffic, "--model", "support", "--store", own)
    assert not (tmp_home / "store.db").exists()
    assert symbio("monitor", "status", "--store", own, "--json").json["models"][0]["num_stored"] == 10


def test_private_fields_never_reach_the_store(symbio: Any, traffic: Path, tmp_home: Path) -> None:
    rules = ["--redact", "input_sample=scrub", "--redact", "metadata.user=hash", "--redact", "event_id=hash"]
    ran = symbio("monitor", "ingest", traffic, "--model", "support", "--metadata", "user", *rules)
    assert ran.code == 0
    raw = b"".join(path.read_bytes() for path in tmp_home.glob("store.db*"))
    assert b"user5@example.org" not in raw
    assert b"user-5" not in raw
    assert b"[email]" in raw
    key = tmp_home / "keys" / "redaction.key"
    if os.name == "posix":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    labels = traffic.with_name("labels.csv")
    labels.write_text("prediction_id,expected_output\ne4,greet\n")
    told = symbio("monitor", "label", labels, "--model", "support", "--redact", "event_id=hash", "--json").json
    assert (told["num_stored"], told["num_early_labels"]) == (1, 0)


def test_wrong_settings_are_told_together_and_before_anything_is_made(
    symbio: Any, traffic: Path, tmp_home: Path
) -> None:
    wrong = ["--task", "poetry", "--sample-share", "2", "--max-text-bytes", "0", "--redact", "nonsense"]
    ran = symbio("monitor", "ingest", traffic, "--model", "support", *wrong, "--json")
    assert (ran.code, ran.json["error"], len(ran.json["problems"])) == (2, "bad_config", 4)
    ran = symbio("monitor", "ingest", traffic, "--model", "support", "--redact", "input_sample=burn", "--json")
    assert (ran.code, ran.json["error"]) == (2, "bad_config")
    assert list(tmp_home.iterdir()) == []


def test_files_that_cannot_be_used(symbio: Any, traffic: Path, tmp_path: Path) -> None:
    ran = symbio("monitor", "ingest", tmp_path / "nowhere.csv", "--model", "m", "--json")
    assert (ran.code, ran.json["error"]) == (2, "bad_data")
    ran = symbio("monitor", "ingest", traffic, "--model", "m", "--text-field", "question", "--json")
    assert (ran.code, ran.json["error"]) == (2, "missing_columns")
    bad = tmp_path / "bad.jsonl"
    bad.write_bytes(b'{"input_sample": "\xff", "actual_output": "a"}\n')
    ran = symbio("monitor", "ingest", bad, "--model", "m", "--json")
    assert (ran.code, ran.json["refused_by_code"]) == (2, {"not_utf8": 1})


def test_pruning(symbio: Any, traffic: Path) -> None:
    symbio("monitor", "ingest", traffic, "--model", "support")
    for age in ("90", "d", "-1d", "1y"):
        assert symbio("monitor", "prune", "--older-than", age).code == 2
    assert symbio("monitor", "prune").code == 2
    gone = symbio("monitor", "prune", "--older-than", "1w", "--json").json["models"]
    assert [(g["model_id"], g["num_rows"]) for g in gone] == [("support", 2)]
    ran = symbio("monitor", "status")
    assert "2 older predictions were removed; their counts by day and domain stay" in ran.out
    again = symbio("monitor", "ingest", traffic, "--model", "support", "--json").json
    assert again["refused_by_code"] == {"empty_text": 1, "expired": 2}
    assert "support  7" in symbio("monitor", "prune", "--keep-last", "1", "--model", "support").out
