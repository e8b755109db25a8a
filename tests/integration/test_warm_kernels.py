"""Kernels forked from a warm process: the results of spawned ones, nothing left between runs, honest about the mode."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml

from symbio_lab.errors import ConfigError, KernelDiedError, NotebookFailedError
from symbio_lab.kernels.client import Zygote, stop_zygotes, zygote_for
from symbio_lab.kernels.environment import READ_AT_IMPORT, zygote_key
from symbio_lab.kernels.executing import execute_notebook
from symbio_lab.kernels.managing import KernelMode, StopSwitch
from symbio_lab.sweeps.plan import make_plan
from symbio_lab.sweeps.runner import run_sweep
from tests.architecture.sources import ROOT
from tests.unit.sweeps.made import made_notebook

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="kernels are forked on Linux only")
PRELOAD = ("numpy", "colorsys")
RESULTS = """
import random, sys
import numpy as np
print(np.random.default_rng(3).normal(size=5).tobytes().hex(), random.Random(4).random())
print(sorted(sys.modules["__main__"].__dict__)[:3], sys.argv[0].rsplit("/")[-1], __name__, sys.path[0])
display({"text/plain": "shown"}, raw=True)
"""


@pytest.fixture(scope="module", autouse=True)
def _no_zygote_is_left() -> Iterator[None]:
    # Kernels find the checkout as this process does.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    yield
    stop_zygotes()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def zygote() -> Zygote:
    return zygote_for(PRELOAD, dict(os.environ))


def run(
    folder: Path, *code: str, preload: tuple[str, ...] | None = PRELOAD, **options: Any
) -> tuple[list[Any], list[KernelMode]]:
    """Execute cells; return their outputs, and how the kernel started."""
    folder.mkdir(exist_ok=True)
    cells = [nbformat.v4.new_code_cell("x: int = 1", metadata={"tags": ["parameters"]})]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[*cells, *map(nbformat.v4.new_code_cell, code)], metadata=metadata)
    nbformat.write(notebook, folder / "in.ipynb")
    modes: list[KernelMode] = []
    out = folder / "out.ipynb"
    execute_notebook("made", {}, out, source=folder / "in.ipynb", preload=preload, modes=modes, **options)
    done = nbformat.read(out, as_version=4)
    assert done.metadata["symbio"] == {"kernel_mode": modes[-1]}
    return [[dict(o) for o in cell.outputs] for cell in done.cells[-len(code) :]], modes


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_results_equal_a_spawned_kernels(tmp_path: Path) -> None:
    forked, spawned = run(tmp_path / "a", RESULTS), run(tmp_path / "b", RESULTS, preload=None)
    assert forked[0] == spawned[0]
    assert forked[0][0][0]["text"]
    assert (forked[1], spawned[1]) == (["fork"], ["spawn"])


def test_torch_gives_the_same_bits(tmp_path: Path) -> None:
    train = """
import torch
torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
data, labels = torch.randn(64, 16), torch.randint(0, 2, (64,))
for _ in range(20):
    optimiser.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(data), labels)
    loss.backward()
    optimiser.step()
print(loss.item().hex(), torch.rand(3).tolist(), torch.cuda.is_initialized())
"""
    forked, spawned = run(tmp_path / "a", train, preload=("torch",)), run(tmp_path / "b", train, preload=None)
    assert forked[0] == spawned[0]
    assert (forked[1], spawned[1]) == (["fork"], ["spawn"])


def test_a_failing_cell_is_told_as_ever(tmp_path: Path) -> None:
    with pytest.raises(NotebookFailedError, match="ZeroDivisionError"):
        run(tmp_path / "a", "1 / 0")


def test_a_killed_kernel_is_found_dead(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(KernelDiedError):
        run(tmp_path / "a", "import os; os.kill(os.getpid(), 9)")
    assert time.monotonic() - begun < 20


def test_a_switch_stops_a_forked_kernel(tmp_path: Path) -> None:
    switch = StopSwitch()
    threading.Timer(2.0, switch.stop, ["enough"]).start()
    begun = time.monotonic()
    with pytest.raises(KernelDiedError):
        run(tmp_path / "a", "import time; time.sleep(60)", stop=switch)
    assert time.monotonic() - begun < 20


def test_the_exit_status_comes_back(zygote: Zygote, tmp_path: Path) -> None:
    with open(os.devnull, "r+b") as null:
        kernel = zygote.fork(str(tmp_path / "k.json"), os.environ, str(tmp_path), [null.fileno()] * 3)
    assert kernel.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        kernel.wait(0.01)
    kernel.kill()
    assert kernel.wait(10) == -signal.SIGKILL
    assert kernel.poll() == -signal.SIGKILL


def test_nothing_is_left_for_the_next_run(tmp_path: Path) -> None:
    run(tmp_path / "a", "import colorsys, os; colorsys.left = 1; os.environ['LEFT'] = '1'")
    outputs, _ = run(tmp_path / "b", "import colorsys, os; print(hasattr(colorsys, 'left'), 'LEFT' in os.environ)")
    assert outputs[0][0]["text"] == "False False\n"


def test_the_environment_arrives(tmp_path: Path) -> None:
    code = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], os.getcwd() == os.path.abspath('.'))"
    outputs, modes = run(tmp_path / "a", code, env={"CUDA_VISIBLE_DEVICES": "7"})
    assert outputs[0][0]["text"] == "7 True\n"
    assert modes == ["fork"]


def test_a_variable_that_libraries_read_at_import_asks_for_another_zygote(zygote: Zygote, tmp_path: Path) -> None:
    other = {**os.environ, "HF_HOME": str(tmp_path)}
    with pytest.raises(ConfigError, match="differs"):
        zygote.fork("x", other, str(tmp_path), [0, 1, 2])
    assert zygote_for(PRELOAD, other) is not zygote
    assert zygote_for(PRELOAD, {**os.environ, "SOMETHING": "else"}) is zygote


@pytest.mark.parametrize("name", READ_AT_IMPORT)
def test_every_such_variable_is_part_of_the_key(name: str) -> None:
    assert zygote_key((), {name: "1"}) != zygote_key((), {})


def test_a_request_with_another_key_is_refused(zygote: Zygote, tmp_path: Path) -> None:
    zygote.start()
    right, zygote.key = zygote.key, "0" * 64
    try:
        with pytest.raises(ConfigError):
            zygote.fork("x", os.environ, str(tmp_path), [0, 1, 2])
        assert zygote.folder is not None
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(zygote.folder / "z"))
            connection.sendall(b'{"key": "wrong"}\n')
            assert b"the key differs" in connection.recv(1000)
    finally:
        zygote.key = right


def test_where_nothing_can_be_forked_kernels_are_spawned(tmp_path: Path) -> None:
    """The preload list names a module that does not exist: the zygote never starts, the run does."""
    outputs, modes = run(tmp_path / "a", "print(1)", preload=("no_such_module",))
    assert (outputs[0][0]["text"], modes) == ("1\n", ["spawn"])


def test_the_socket_is_private_and_nothing_is_left_after_stop() -> None:
    zygote = Zygote(())
    zygote.start()
    assert zygote.folder is not None
    assert zygote.process is not None
    folder, pid = zygote.folder, zygote.process.pid
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "z").stat().st_mode) == 0o600
    zygote.stop()
    assert not folder.exists()
    assert not is_running(pid)


def test_two_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda name: run(tmp_path / name, f"print({name!r})"), ("a", "b")))
    assert [outputs[0][0]["text"] for outputs, _ in done] == ["a\n", "b\n"]
    assert [modes for _, modes in done] == [["fork"], ["fork"]]


def test_a_zygote_imports_with_few_threads(zygote: Zygote) -> None:
    zygote.start()
    assert zygote.process is not None
    # One for Python; allocators may keep one of their own.
    assert len(list(Path(f"/proc/{zygote.process.pid}/task").iterdir())) <= 2


def test_a_zygote_and_its_kernels_end_with_the_owner(tmp_path: Path) -> None:
    code = (
        "import os; from symbio_lab.kernels.client import Zygote; z = Zygote(());"
        "null = os.open(os.devnull, os.O_RDWR);"
        f"k = z.fork({str(tmp_path / 'k.json')!r}, dict(os.environ), {str(tmp_path)!r}, [null] * 3);"
        "print(z.process.pid, k.pid, flush=True); input()"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin is not None
    assert owner.stdout is not None
    with owner.stdin, owner.stdout:
        pids = [int(number) for number in owner.stdout.readline().split()]
        assert len(pids) == 2
        assert all(map(is_running, pids))
        owner.kill()
        owner.wait()
    assert until(lambda: not any(map(is_running, pids)))


def test_an_idle_zygote_ends_and_starts_again(tmp_path: Path) -> None:
    zygote = Zygote((), idle_s=1.0)
    zygote.start()
    assert zygote.process is not None
    process = zygote.process
    assert until(lambda: process.poll() is not None)
    with zygote, open(os.devnull, "r+b") as null:
        kernel = zygote.fork(str(tmp_path / "k.json"), os.environ, str(tmp_path), [null.fileno()] * 3)
        assert kernel.poll() is None
        kernel.kill()
        assert kernel.wait(10) == -signal.SIGKILL


def test_a_sweep_says_how_its_kernels_started(tmp_path: Path) -> None:
    made_notebook(tmp_path / "cell.ipynb")
    found = {}
    for mode in ("fork", "spawn"):
        data = {"name": "tiny", "notebook": "cell.ipynb", "parameters": {"marks": str(tmp_path / mode)}}
        data |= {"grid": {"product": {"number": [1]}}, "engine": {"kernels": mode}}
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(data))
        (record,) = run_sweep(make_plan(tmp_path / "sweep.yaml", tmp_path / f"out-{mode}")).finished
        found[mode] = record.kernel_mode
    assert found == {"fork": "fork", "spawn": "spawn"}


def test_papermill_finds_the_engine_and_jupyter_the_provisioner() -> None:
    from importlib.metadata import entry_points

    from symbio_lab.kernels.engine import ForkEngine
    from symbio_lab.kernels.provisioner import ForkProvisioner

    engines = entry_points(group="papermill.engine", name="symbio-fork")
    provisioners = entry_points(group="jupyter_client.kernel_provisioners", name="symbio-fork")
    assert [e.load() for e in engines][:1] == [ForkEngine]
    assert [p.load() for p in provisioners][:1] == [ForkProvisioner]


@pytest.mark.parametrize("order", ["symbio_lab.kernels.engine, papermill.engines", "papermill.engines"])
def test_the_engine_is_found_whoever_is_imported_first(order: str) -> None:
    """Papermill loads engines while it is imported: the engine's module must not need it for that."""
    code = f"import {order}\nprint(papermill.engines.papermill_engines.get_engine('symbio-fork').__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "ForkEngine", done.stderr


def test_papermills_own_command_can_use_it(tmp_path: Path) -> None:
    import papermill

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("print(6 * 7)")])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    done = papermill.execute_notebook(
        str(tmp_path / "in.ipynb"),
        str(tmp_path / "out.ipynb"),
        engine_name="symbio-fork",
        preload=PRELOAD,
        progress_bar=False,
    )
    assert done.cells[-1].outputs[0]["text"] == "42\n"
    assert done.metadata["symbio"] == {"kernel_mode": "fork"}
