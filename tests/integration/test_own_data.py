"""A user's own model and data, end to end on tiny models of both task types, and what bad input is answered."""

from __future__ import annotations

import csv
import gzip
import html
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pyarrow
import pyarrow.parquet
import pytest

from symbio_lab.cli import app
from symbio_lab.cli.market_access import enrol_key
from symbio_lab.codec import read_json
from symbio_lab.comparison.market import Market, market_at
from symbio_lab.comparison.own_data import OwnComparison, OwnData, compare_own_data
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings
from symbio_lab.events import CellFinished, Event, PhaseStarted
from symbio_lab.failures.tables import read_table
from symbio_lab.kernels.executing import execute_notebook
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.records import Sample
from symbio_lab.reports.writing import write_report
from symbio_lab.testing.tiny_market import tiny_market
from symbio_lab.testing.tiny_models import NOW, PUBLISHER, TinyModels
from symbio_lab.testing.tiny_samples import generation_samples, known_samples, odd_samples, strange_samples

PLAN = ComparisonPlan("", strategies=("noop", "best_single", "lora_replay"), n_repair=16, n_control=450, n_replay=100)


def rows_of(samples: Iterable[Sample], topic: str) -> list[dict[str, str]]:
    return [{"question": s.text, "gold": s.expected, "topic": topic} for s in samples]


def write_csv(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl_gz(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def write_parquet(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def traffic(task: str) -> list[dict[str, str]]:
    """Rows that the tiny model mostly gets right, and a topic on which it is wrong."""
    if task == "text_generation":
        return rows_of(generation_samples(480, seed=1), "things") + rows_of(strange_samples(90, seed=1), "strange")
    return rows_of(known_samples(440, seed=1), "colours") + rows_of(odd_samples(80, seed=1), "odd")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_csv(folder / "classes.csv", traffic("text_classification"))
    write_jsonl_gz(folder / "texts.jsonl.gz", traffic("text_generation"))
    write_parquet(folder / "classes.parquet", traffic("text_classification"))
    write_csv(folder / "train.csv", rows_of(known_samples(100, seed=1), "colours"))
    return folder


def own(table: Path, **more: Any) -> OwnData:
    return OwnData(str(table), "question", "gold", **more)


def settings(home: Path) -> Settings:
    return Settings(home=home, device="cpu", num_threads=1)


CASES = {
    "text_classification": ("bert", "classes.csv", "topic=odd"),
    "text_generation": ("llama", "texts.jsonl.gz", "topic=strange"),
}


@pytest.fixture(scope="module", params=CASES)
def done(
    request: pytest.FixtureRequest, tiny: TinyModels, tables: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, OwnComparison, Path]:
    model, table, named = CASES[request.param]
    home = tmp_path_factory.mktemp(model)
    result = compare_own_data(
        tiny.folder(model), own(tables / table, slice=named), home / "out", plan=PLAN, settings=settings(home)
    )
    return request.param, result, home


def test_failures_and_controls_come_from_running_the_model(done: tuple[str, OwnComparison, Path]) -> None:
    task, result, _ = done
    _, _, named = CASES[task]
    (comparison,) = result.comparisons.values()
    row = comparison.rows[0]
    assert list(result.comparisons) == [named]
    assert row["scenario"] == f"own/{named}"
    assert row["deployed_slice_accuracy"] < 0.5 < row["deployed_control_accuracy"]
    assert 0.5 < result.accuracy < 1
    info = read_json(result.out / "world.json")
    assert info["facts"]["slice_failures"] > 0
    assert info["task_type"] == task


def test_surgery_heals_and_market_arms_say_that_there_is_none(done: tuple[str, OwnComparison, Path]) -> None:
    task, result, _ = done
    (comparison,) = result.comparisons.values()
    by_arm = {row["strategy"]: row for row in comparison.rows}
    assert set(by_arm) == set(PLAN.strategies)
    assert by_arm["best_single"]["status"] == "no_patch_found"
    cells = [read_json(path) for path in result.out.glob("cells/*/cell.json")]
    (adopted,) = (c for c in cells if c["row"]["strategy"] == "best_single")
    assert [a["code"] for a in adopted["attempts"]] == ["no_market"]
    assert by_arm["lora_replay"]["proposed_fix_rate"] is not None
    if task == "text_generation":
        assert by_arm["lora_replay"]["proposed_fix_rate"] > 0.1


def test_a_second_run_keeps_what_is_there(
    done: tuple[str, OwnComparison, Path], tiny: TinyModels, tables: Path
) -> None:
    task, result, home = done
    model, table, named = CASES[task]
    events: list[Event] = []
    again = compare_own_data(
        tiny.folder(model), own(tables / table, slice=named), result.out, plan=PLAN, settings=settings(home),
        listener=events.append,
    )  # fmt: skip
    assert sum(isinstance(e, CellFinished) for e in events) == len(PLAN.strategies)
    assert not [e for e in events if isinstance(e, PhaseStarted)]
    assert again.comparisons[named].rows == result.comparisons[named].rows


def test_the_report_says_what_own_data_have_and_what_they_lack(done: tuple[str, OwnComparison, Path]) -> None:
    task, result, _ = done
    page = write_report(result.out).read_text(encoding="utf-8")
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())
    named = CASES[task][2]
    assert f"own/{named}" in text
    assert "with no market and 16 labelled failures" in text
    assert "There was no market, so adopting and operating are not compared." in text
    assert "Break-even is not stated: there was no market." in text
    assert "rows outside the slice, kept apart from control" in text
    assert "Without a market there are no reference arms" in text
    facts = read_json(result.out / "world.json")["facts"]
    assert f"it is wrong on {facts['slice_failures']} of these" in text
    if task == "text_generation":
        assert "right output" in text
        assert "label, known to the base" not in text
    else:
        assert "The slice has 2 labels, known to the base: blue , green" in text


def test_without_a_slice_the_failure_patterns_are_the_slices(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    plan = ComparisonPlan("", strategies=("noop",), n_repair=8, n_control=450)
    result = compare_own_data(
        tiny.folder("bert"), own(tables / "classes.parquet"), tmp_path / "out", plan=plan, settings=settings(tmp_path)
    )
    assert result.comparisons
    assert all(name.startswith("requests of ") for name in result.comparisons)
    overview = read_json(tmp_path / "out" / "summary.json")
    assert set(overview["slices"]) == set(result.comparisons)
    folders = {read_json(tmp_path / "out" / s["folder"] / "plan.json")["scenario"] for s in overview["slices"].values()}
    assert folders == {f"own/{name}" for name in result.comparisons}
    assert pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet").num_rows == len(result.comparisons)


def test_the_values_of_a_named_column_can_be_the_patterns(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    plan = ComparisonPlan("", strategies=("noop",), n_repair=16, n_control=450)
    rows = traffic("text_classification")
    rows[:5] = [{**row, "gold": "grey" if row["gold"] != "grey" else "red"} for row in rows[:5]]
    data = own(write_csv(tmp_path / "data.csv", rows), domain_field="topic")
    result = compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    assert list(result.comparisons) == ["topic=odd"]
    (reason,) = result.left_out
    assert reason.startswith("topic=colours: the model is wrong on 5 of its 1760 rows")


def test_words_that_set_failures_apart_are_the_patterns_of_a_generator(
    tiny: TinyModels, tables: Path, tmp_path: Path
) -> None:
    # The words of the tiny vocabulary end in digits; a pattern is named by letters.
    rows = [{**row, "question": f"{row['question']} {row['topic']}!"} for row in traffic("text_generation")]
    data = own(write_jsonl_gz(tmp_path / "worded.jsonl.gz", rows))
    plan = ComparisonPlan("", strategies=("noop",), n_repair=16, n_control=450)
    result = compare_own_data(tiny.load("llama"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    assert "inputs with 'strange'" in result.comparisons
    folder = result.comparisons["inputs with 'strange'"].out
    assert read_json(folder / "world.json")["domain"] == "strange"
    assert read_json(folder / "world.json")["facts"]["slice_rows"] == 90


def test_labels_without_a_row_elsewhere_stop_no_surgery(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    rows = traffic("text_classification")
    rows += rows_of([replace(s, expected="mauve") for s in known_samples(30, seed=7)], "others")
    data = own(write_csv(tmp_path / "mixed.csv", rows), slice="topic=odd")
    plan = ComparisonPlan("", strategies=("head_retrain",), n_repair=16, n_control=450)
    result = compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    (row,) = result.comparisons["topic=odd"].rows
    assert row["label_shift"] == "new"
    assert row["status"] in ("healed", "rejected", "undecided")
    assert any("no row for 1 gold label(s): mauve" in note for note in result.notes)


def test_another_cut_of_the_same_rows_is_another_result(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    plan = ComparisonPlan("", strategies=("noop",), n_repair=8, n_control=450)
    rows = traffic("text_classification")
    for number, changed in enumerate(
        (rows, [{**r, "topic": "colours"} if i < 1775 else r for i, r in enumerate(rows)])
    ):
        data = own(write_csv(tmp_path / "data.csv", changed), slice="topic=odd")
        compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
        assert len(list(tmp_path.glob("out/cells/*"))) == number + 1


def test_the_training_table_gives_replay_without_the_data_s_texts(
    tiny: TinyModels, tables: Path, tmp_path: Path
) -> None:
    data_rows = known_samples(440, seed=1)
    shared = rows_of(data_rows[:50], "x")
    nearly = [{**row, "question": row["question"].upper() + "!"} for row in rows_of(data_rows[50:80], "x")]
    others = [{**row, "question": f"quite another text, number {i}"} for i, row in enumerate(shared)]
    write_csv(tmp_path / "train.csv", shared + nearly + others)
    data = own(tables / "classes.csv", slice="topic=odd", train=str(tmp_path / "train.csv"))
    plan = ComparisonPlan("", strategies=("noop",), n_repair=16, n_control=450)
    compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    world = read_json(tmp_path / "out" / "world.json")
    assert world["facts"]["replay_dropped"] == len(shared) + len(nearly)
    assert world["facts"]["replay_rows"] == len(others)
    assert f"Replay: {len(others)} rows of train.csv; {len(shared) + len(nearly)} that the data hold" in world["notes"]


def test_a_market_of_the_user_s_own_is_searched_and_verified(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    model = tiny.load("llama")
    made = tiny_market(model, tmp_path, "known")
    market = Market(made.transport.uri, made.transport, made.policy, snapshot_digest(made.transport), now=NOW)
    plan = ComparisonPlan("", strategies=("best_single", "marketplace_first"), n_repair=16, n_control=450)
    result = compare_own_data(
        model, own(tables / "texts.jsonl.gz", slice="topic=strange"), tmp_path / "out", plan=plan, market=market,
        settings=settings(tmp_path),
    )  # fmt: skip
    rows = {row["strategy"]: row for row in result.comparisons["topic=strange"].rows}
    assert set(rows) == {"best_single", "marketplace_first", "oracle_best"}
    assert rows["best_single"]["proposed_patch"] == "good/patch"
    assert rows["best_single"]["proposed_fix_rate"] > 0.1
    assert "unknown_key" in rows["best_single"]["refused_codes"]
    assert rows["best_single"]["pool_forwards_equivalent"] == 0


def test_a_market_in_a_folder_is_judged_by_the_keys_enrolled(
    symbio: Any, tiny: TinyModels, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("symbio_lab.cli.own_data.utc_now", lambda: NOW)
    folder = tiny.folder("llama")
    # As the command loads it: what a tokenizer of that folder lets answers be is part of no digest.
    made = tiny_market(tiny.load("llama"), tmp_path, "known", unfit=False)
    flags = ("--model", folder, "--data", tables / "texts.jsonl.gz", "--slice", "topic=strange", "--json")
    flags += ("--market", made.transport.path, "--out", tmp_path / "out", "--strategies", "best_single")

    def result() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        code, out, err = symbio(*flags)
        assert code == 0, err
        table = pyarrow.parquet.read_table(tmp_path / "out" / "results.parquet").to_pylist()
        return json.loads(out), table

    printed, rows = result()
    assert {r["strategy"]: r["status"] for r in rows} == {
        "best_single": "no_patch_found",
        "oracle_best": "no_patch_found",
    }
    assert json.loads(rows[0]["refused_codes"]) == {"unknown_key": 3}
    assert printed["market"] == str(made.transport.path)
    assert any("surgery_donor_data is left out" in note for note in printed["notes"])

    enrol_key(PUBLISHER.public_hex, "a colleague", settings(tmp_path / "home"))
    _, rows = result()
    assert rows[0]["proposed_patch"] == "good/patch"
    assert rows[0]["deployed_fix_rate"] > 0.1


def test_numbers_become_the_names_of_the_model_s_rows(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    labels = tiny.load("bert").labels
    rows = [{**row, "gold": str(labels.index(row["gold"]))} for row in traffic("text_classification")]
    data = own(write_csv(tmp_path / "numbers.csv", rows), slice="topic=odd")
    plan = ComparisonPlan("", strategies=("noop",), n_repair=16, n_control=450)
    result = compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    assert result.accuracy > 0.5
    assert read_json(tmp_path / "out" / "world.json")["facts"]["labels_by_number"] is True


def test_the_notebook_shows_a_user_s_own_model(tiny: TinyModels, tables: Path, tmp_path: Path, symbio: Any) -> None:
    parameters = {"model": str(tiny.folder("bert")), "data": str(tables / "classes.csv"), "slice_field": ""}
    parameters |= {"text_field": "question", "label_field": "gold", "out": str(tmp_path / "out")}
    ran = execute_notebook(
        "bring_your_own", {**parameters, "strategies": ["noop"], "n_repair": 8}, tmp_path / "nb.ipynb"
    )
    text = " ".join(
        str(o.get("text") or o.get("data", {}).get("text/plain"))
        for cell in nbformat.read(ran, as_version=4).cells
        for o in cell.get("outputs", ())
    )
    assert "compared:\n  requests of " in text
    assert "no arm gained anything" in text
    assert "belong to this slice" in text


def test_the_notebook_of_language_models_heals_one_that_is_named(
    tiny: TinyModels, tables: Path, tmp_path: Path, symbio: Any
) -> None:
    parameters = {"model": str(tiny.folder("llama")), "data": str(tables / "texts.jsonl.gz"), "text_field": "question"}
    parameters |= {"label_field": "gold", "slice_field": "topic", "slice_value": "strange", "n_repair": 8}
    ran = execute_notebook("hub_llm", {**parameters, "out": str(tmp_path / "out")}, tmp_path / "nb.ipynb")
    cells = [str(cell.get("outputs")) for cell in nbformat.read(ran, as_version=4).cells]
    assert any("There is no CUDA device" in text or "bfloat16" in text for text in cells)
    assert "surgery_only" in " ".join(cells)


# ------------------------------------------------------------------------------------- bad input, at the command line


@pytest.fixture
def symbio(capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run ``symbio compare`` in this process; return exit code, stdout and stderr."""
    monkeypatch.setenv("SYMBIO_LAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SYMBIO_LAB_NUM_THREADS", "1")

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        fields = ("--text-field", "question", "--label-field", "gold", "--strategies", "noop", "--no-report")
        code = app.run(["compare", *fields, *(str(a) for a in arguments)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_command_prints_slice_accuracy_and_market(
    symbio: Any, tiny: TinyModels, tables: Path, tmp_path: Path
) -> None:
    code, out, err = symbio(
        "--model",
        tiny.folder("bert"),
        "--data",
        tables / "classes.csv",
        "--slice",
        "topic=odd",
        "--out",
        tmp_path / "out",
    )
    assert code == 0, err
    assert "market: none" in out
    assert "slice: topic=odd" in out
    assert "right on" in out


def test_everything_wrong_with_a_request_is_said_at_once(symbio: Any) -> None:
    code, _, err = symbio(
        *("--model", "nowhere", "--scenario", "helpdesk", "--slice", "topic", "--seeds", "0,x", "--n-repair", "1"),
        *("--task", "translation", "--strategies", "noop,oracle_best,surgery_donor_data", "--pool", "low"),
        *("--max-rows", "0"),
    )  # fmt: skip
    assert code == 2
    for part in (
        "exclude each other",
        "needs --data",
        "--pool: only scenarios have this",
        "not FIELD=VALUE",
        "'x' is not a whole number",
        "n_repair must be at least 2",
        "unknown task 'translation'",
        "oracle_best needs a market",
        "surgery_donor_data needs the contributors",
        "--max-rows must be at least 1",
    ):
        assert part in err, part


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "d.csv", "--domain-field", "a", "--slice", "a=b", "--model", "m"), "leave out --domain-field"),
        (("--scenario", "helpdesk", "--model", "m", "--data", "d.csv"), "exclude each other"),
        (("--model", "m"), "needs --data"),
        (("--data", "d.csv", "--slice", "a=b"), "need(s) --model"),
    ],
)
def test_flags_that_contradict_each_other(symbio: Any, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = symbio(*arguments)
    assert code == 2
    assert message in err


def bad_tables(folder: Path) -> dict[str, tuple[Path, tuple[str, ...], str]]:
    """Name -> table, flags, what the error says."""
    rows = traffic("text_classification")
    one = [{**row, "gold": "red"} for row in rows]
    strange = [{**row, "gold": row["gold"] + "ish"} for row in rows]
    (folder / "latin.csv").write_bytes("question,gold,topic\nna\xefve,red,odd\n".encode("latin-1"))
    (folder / "empty.csv").write_text("question,gold,topic\n")
    (folder / "nothing.jsonl").write_bytes(b"")
    mixed = [{**row, "gold": str(i % 4) if i % 3 else row["gold"]} for i, row in enumerate(rows)]
    right = [row for row in rows if row["topic"] == "colours"]
    halves = [{**row, "topic": "odd" if i % 4 == 0 else "rest"} for i, row in enumerate(right)]
    (folder / "broken.csv").write_text("question,gold,topic\nonly one cell\n")
    (folder / "plain.txt").write_text("x")
    named = ("--slice", "topic=odd")
    return {
        "text field missing": (write_csv(folder / "a.csv", rows), ("--text-field", "body"), "lacks the column(s) body"),
        "label field missing": (folder / "a.csv", ("--label-field", "intent"), "it has: gold, question, topic"),
        "slice field missing": (folder / "a.csv", ("--slice", "theme=odd"), "lacks the column(s) theme"),
        "slice value unknown": (folder / "a.csv", ("--slice", "topic=even"), "values of topic: colours, odd"),
        "slice malformed": (folder / "a.csv", ("--slice", "odd"), "not FIELD=VALUE"),
        "one class only": (write_csv(folder / "one.csv", one), named, "one class only"),
        "labels of another model": (
            write_csv(folder / "other.csv", strange),
            named,
            "blueish, greenish, greyish, redish; it has: blue, green, grey, red",
        ),
        "names and numbers": (
            write_csv(folder / "mixed.csv", mixed),
            named,
            "write each label as the model's id2label",
        ),
        "nothing fails": (write_csv(folder / "right.csv", right * 2), (), "answers all 1760 rows rightly"),
        "few fail": (write_csv(folder / "halves.csv", halves), named, "the model is wrong on "),
        "a file of nothing": (folder / "nothing.jsonl", named, "has no rows"),
        "too few controls": (write_csv(folder / "few.csv", rows[-600:]), named, "the gate gets half and needs 400"),
        "too few failures": (folder / "a.csv", (*named, "--n-repair", "900"), "fewer than --n-repair 900"),
        "not UTF-8": (folder / "latin.csv", named, "line 2 is not UTF-8"),
        "no rows": (folder / "empty.csv", named, "has no rows"),
        "uneven rows": (folder / "broken.csv", named, "line 2 has 1 cells"),
        "unknown format": (folder / "plain.txt", named, "unknown format"),
        "no such file": (folder / "absent.csv", named, "no file"),
    }


@pytest.mark.parametrize(
    "what",
    [
        *("text field missing", "label field missing", "slice field missing", "slice value unknown"),
        *("slice malformed", "one class only", "labels of another model", "too few controls", "too few failures"),
        *("not UTF-8", "no rows", "uneven rows", "unknown format", "no such file", "names and numbers"),
        *("nothing fails", "few fail", "a file of nothing"),
    ],
)
def test_bad_data_are_a_clear_error(symbio: Any, tiny: TinyModels, tmp_path: Path, what: str) -> None:
    table, flags, message = bad_tables(tmp_path)[what]
    code, out, err = symbio("--model", tiny.folder("bert"), "--data", table, *flags, "--out", tmp_path / "out")
    assert code == 2
    assert out == ""
    assert message in err
    assert "hint:" in err
    assert "Traceback" not in err


def test_a_model_of_another_task_is_refused(symbio: Any, tiny: TinyModels, tables: Path) -> None:
    flags = ("--data", tables / "classes.csv", "--slice", "topic=odd")
    code, _, err = symbio("--model", tiny.folder("llama"), "--task", "text_classification", *flags)
    assert (code, "has no classification head" in err) == (2, True)
    code, _, err = symbio("--model", tiny.folder("bert"), "--task", "text_generation", *flags)
    assert (code, "no causal language model" in err) == (2, True)
    code, _, err = symbio("--model", tiny.folder("llama"), *flags)
    assert (code, "look like class labels (4 values on 1920 rows: 'blue, green, grey, red')" in err) == (2, True)


@pytest.mark.parametrize(
    ("missing", "message"), [("config.json", "no config.json"), ("model.safetensors", "safetensors")]
)
def test_a_damaged_model_folder_is_refused(
    symbio: Any, tiny: TinyModels, tables: Path, tmp_path: Path, missing: str, message: str
) -> None:
    folder = Path(shutil.copytree(tiny.folder("bert"), tmp_path / "model"))
    (folder / missing).unlink()
    code, _, err = symbio("--model", folder, "--data", tables / "classes.csv", "--slice", "topic=odd")
    assert code == 4
    assert message in err


# ------------------------------------------------------------------------------------------------- large tables


def test_of_a_large_table_an_even_sample_is_kept(tmp_path: Path) -> None:
    rows = [{"question": f"text {i}", "gold": str(i % 2), "topic": "t"} for i in range(5000)]
    table = read_table(write_csv(tmp_path / "large.csv", rows), "question", "gold", max_rows=1000, seed=3)
    numbers = [int(s.text.split()[1]) for s in table.samples]
    assert (len(numbers), table.num_left_out) == (1000, 4000)
    assert numbers == sorted(numbers)
    assert 2300 < sum(numbers) / 1000 < 2700
    again = read_table(tmp_path / "large.csv", "question", "gold", max_rows=1000, seed=3)
    other = read_table(tmp_path / "large.csv", "question", "gold", max_rows=1000, seed=4)
    assert again == table
    assert other.samples != table.samples


@pytest.mark.slow
def test_a_file_of_100_megabytes_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "huge.csv"
    block = "".join(
        f"a request with some number {i} and more words in it to fill the line,{i % 7}\n" for i in range(10_000)
    )
    with path.open("w") as handle:
        handle.write("question,gold\n")
        while handle.tell() < 100_000_000:
            handle.write(block)
    script = (
        "import resource, sys\n"
        "from symbio_lab.failures.tables import read_table\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "table = read_table(sys.argv[1], 'question', 'gold', max_rows=2000)\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(len(table.samples), table.num_left_out > 1_000_000, (after - before) / 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=300)
    kept, most_left_out, grown = done.stdout.split()
    assert (kept, most_left_out) == ("2000", "True"), done.stderr
    assert float(grown) < 60, f"reading 100 MB took {grown} MiB"


def test_a_market_that_is_not_there_is_said(tmp_path: Path) -> None:
    from symbio_lab.errors import NotFoundError

    with pytest.raises(NotFoundError, match="no market"):
        market_at(str(tmp_path / "nowhere"), settings(tmp_path), now=NOW)
