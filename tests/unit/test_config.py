"""Settings come from the right place, and every problem is named at once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from symbio_lab.config import ENVIRONMENT, Settings, available_threads, load_settings
from symbio_lab.errors import ConfigError


def write_toml(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "symbio.toml").write_text(text, encoding="utf-8")


def test_defaults_need_nothing(tmp_path: Path) -> None:
    resolved = load_settings({}, environ={}, cwd=tmp_path)
    settings = resolved.settings
    assert (settings.device, settings.dtype, settings.log_level, settings.data) == ("auto", "float32", "warning", None)
    assert settings.num_threads == available_threads() >= 1
    assert settings.home.name == "symbio-lab"
    assert set(resolved.origins.values()) == {"default"}


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    write_toml(tmp_path, 'device = "mps"\ndtype = "float16"\nlog_level = "error"\n')
    environ = {"SYMBIO_LAB_HOME": str(tmp_path / "h"), "SYMBIO_LAB_DEVICE": "cuda", "SYMBIO_LAB_DTYPE": "bfloat16"}
    resolved = load_settings({"device": "cpu", "dtype": None}, environ=environ, cwd=tmp_path)
    assert resolved.settings.device == "cpu"
    assert resolved.settings.dtype == "bfloat16"
    assert resolved.settings.log_level == "error"
    assert dict(resolved.origins) == {
        "home": "environment SYMBIO_LAB_HOME",
        "data": "default",
        "device": "flag --device",
        "dtype": "environment SYMBIO_LAB_DTYPE",
        "num_threads": "default",
        "log_level": "file symbio.toml",
        "store": "default",
    }


def test_every_setting_has_an_environment_variable() -> None:
    assert set(ENVIRONMENT) == {field.name for field in dataclasses.fields(Settings)}


def test_the_file_of_the_state_folder_is_read_when_the_working_folder_has_none(tmp_path: Path) -> None:
    home, cwd = tmp_path / "home", tmp_path / "cwd"
    write_toml(home, "num_threads = 3\n")
    cwd.mkdir()
    environ = {"SYMBIO_LAB_HOME": str(home)}
    assert load_settings(environ=environ, cwd=cwd).settings.num_threads == 3
    write_toml(cwd, "num_threads = 5\n")
    assert load_settings(environ=environ, cwd=cwd).settings.num_threads == 5


def test_relative_paths_belong_to_where_they_are_written(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    write_toml(tmp_path, 'home = "state"\n')
    settings = load_settings({"data": "rows"}, environ={}, cwd=tmp_path).settings
    assert settings.home == tmp_path / "state"
    assert settings.data == tmp_path / "rows"


def test_an_empty_environment_variable_counts_as_not_set(tmp_path: Path) -> None:
    assert load_settings(environ={"SYMBIO_LAB_DEVICE": ""}, cwd=tmp_path).origins["device"] == "default"


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    write_toml(tmp_path, 'devise = "cpu"\ndtype = "float8"\n')
    environ = {"SYMBIO_LAB_NUM_THREADS": "0", "SYMBIO_LAB_HOME": str(tmp_path / "file")}
    with pytest.raises(ConfigError) as caught:
        load_settings({"device": "tpu", "data": "nowhere", "speed": 9}, environ=environ, cwd=tmp_path)
    problems = caught.value.problems
    assert len(problems) == 7
    expected = ["'speed'", "'devise'", "home (", "data (flag --data)", "device (flag --device)", "'float8'", "'0'"]
    for part in expected:
        assert any(part in problem for problem in problems), part


@pytest.mark.parametrize("value", ["two", "1.5", 1.5, True, -1, 10**9])
def test_a_thread_count_is_a_whole_number(value: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_threads"):
        load_settings({"num_threads": value}, environ={}, cwd=tmp_path)


def test_a_broken_file_is_one_problem(tmp_path: Path) -> None:
    write_toml(tmp_path, "device = \n")
    with pytest.raises(ConfigError, match=r"symbio\.toml cannot be read"):
        load_settings(environ={}, cwd=tmp_path)


def test_a_file_inside_the_state_folder_cannot_move_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    write_toml(home, 'home = "elsewhere"\n')
    with pytest.raises(ConfigError, match="no effect inside the state folder"):
        load_settings({"home": home}, environ={}, cwd=tmp_path)


def test_values_are_read_without_regard_to_case(tmp_path: Path) -> None:
    resolved = load_settings(environ={"SYMBIO_LAB_LOG_LEVEL": " INFO "}, cwd=tmp_path)
    assert resolved.settings.log_level == "info"


def test_resolving_and_naming_folders_creates_nothing(tmp_path: Path) -> None:
    settings = load_settings({"home": tmp_path / "home"}, environ={}, cwd=tmp_path).settings
    folders = {settings.bases, settings.pools, settings.patches, settings.keys, settings.runs, settings.store}
    assert {path.name for path in folders} == {"bases", "pools", "patches", "keys", "runs", "store.db"}
    assert all(path.parent == settings.home for path in folders)
    assert list(tmp_path.iterdir()) == []


def test_the_process_environment_is_read_by_default(tmp_home: Path) -> None:
    assert load_settings().settings.home == tmp_home
