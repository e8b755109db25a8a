"""A user's own model and data, end to end on tiny models of both task types, and what bad input is answered."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from symbio_lab.cli import app
from symbio_lab.codec import read_json
from symbio_lab.comparison.market import Market, market_at
from symbio_lab.comparison.own_data import OwnComparison, OwnData, compare_own_data
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import Settings
from symbio_lab.events import CellFinished, Event, PhaseStarted
from symbio_lab.failures.tables import read_table
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.records import Sample
from symbio_lab.testing.tiny_market import tiny_market
from symbio_lab.testing.tiny_models import NOW, TinyModels
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


def test_the_training_table_gives_replay_without_the_data_s_texts(
    tiny: TinyModels, tables: Path, tmp_path: Path
) -> None:
    # train.csv repeats the data's own rows and must bring others too.
    shared = rows_of(known_samples(50, seed=1), "x")
    write_csv(tmp_path / "train.csv", shared + rows_of(known_samples(60, seed=99), "x"))
    data = own(tables / "classes.csv", slice="topic=odd", train=str(tmp_path / "train.csv"))
    plan = ComparisonPlan("", strategies=("noop",), n_repair=16, n_control=450)
    compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    facts = read_json(tmp_path / "out" / "world.json")["facts"]
    assert facts["replay_dropped"] >= len(shared)
    assert "train.csv" in facts["replay"]


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


def test_numbers_become_the_names_of_the_model_s_rows(tiny: TinyModels, tables: Path, tmp_path: Path) -> None:
    labels = tiny.load("bert").labels
    rows = [{**row, "gold": str(labels.index(row["gold"]))} for row in traffic("text_classification")]
    data = own(write_csv(tmp_path / "numbers.csv", rows), slice="topic=odd")
    plan = ComparisonPlan("", strategies=("noop",), n_repair=16, n_control=450)
    result = compare_own_data(tiny.folder("bert"), data, tmp_path / "out", plan=plan, settings=settings(tmp_path))
    assert result.accuracy > 0.5
    assert read_json(tmp_path / "out" / "world.json")["facts"]["labels_by_number"] is True


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
            "no gold label is one of the model",
        ),
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
        *("not UTF-8", "no rows", "uneven rows", "unknown format", "no such file"),
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
