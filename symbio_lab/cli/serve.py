"""``symbio serve`` and ``symbio worker``: the REST API, and the processes that carry out its jobs."""

from __future__ import annotations

import ipaddress
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from symbio_lab.cli.session import StoreOption, settings_with_store
from symbio_lab.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from symbio_lab.config import Settings
    from symbio_lab.service.settings import ServiceSettings

TracesOption = Annotated[
    str | None,
    typer.Option("--traces", help="OTLP collector (HTTP), e.g. http://127.0.0.1:4318. Default: OTEL_ variables."),
]
MarketsOption = Annotated[list[str] | None, typer.Option("--market", help="Folder, file:// or hf://; repeated.")]
LimitsOption = Annotated[
    list[str] | None,
    typer.Option("--limit", help="NAME=NUMBER, e.g. requests_per_minute=600; repeated. All names: docs/service.md."),
]


def serve(
    context: typer.Context,
    local: Annotated[
        bool, typer.Option("--local", help="No keys, one tenant, loopback only: for one's own lab.")
    ] = False,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="ID=SOURCE of a base for everybody; repeated.")
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", help="ID=SPDX of a --model whose card states none; repeated.")
    ] = None,
    market: MarketsOption = None,
    limit: LimitsOption = None,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=0, max=64, help="Worker processes started beside it.")] = 1,
    store: StoreOption = None,
    traces: TracesOption = None,
    grafana: Annotated[
        bool, typer.Option("--grafana", help="Print the Grafana dashboard over /metrics as JSON, and end.")
    ] = False,
) -> None:
    """Serve the REST API until Ctrl-C, with worker processes for healing jobs.

    Without --local every call needs a key: symbio tenants new NAME makes a tenant and its first one.
    """
    if grafana:
        from symbio_lab.service.grafana import grafana_dashboard

        typer.echo(grafana_dashboard(), nl=False)
        return
    if local and not _is_loopback(host):
        raise ConfigError(
            [f"--local listens on the loopback interface only, not on {host!r:.80}"],
            hint="drop --host, or drop --local and make keys: symbio tenants new NAME",
        )
    named = dict(_named("--model", "SOURCE", text) for text in model or ())
    licences = dict(_named("--licence", "SPDX", text) for text in licence or ())
    if unknown := sorted(set(licences) - set(named)):
        raise ConfigError([f"--licence names no --model: {', '.join(unknown):.200}"])
    settings = settings_with_store(context, store)
    service = _service(local=local, markets=tuple(market or ()), limits=limit or ())
    _serve(settings, service, named, licences, limit or (), host, port, workers, traces)


def worker(
    context: typer.Context,
    market: MarketsOption = None,
    limit: LimitsOption = None,
    local: Annotated[bool, typer.Option("--local")] = False,
    store: StoreOption = None,
    traces: TracesOption = None,
) -> None:
    """Carry out jobs of the service on this store until SIGTERM or Ctrl-C."""
    from symbio_lab.cli.service_logging import log_as_json

    service = _service(local=local, markets=tuple(market or ()), limits=limit or ())
    from symbio_lab.models.loading import use_threads
    from symbio_lab.service.tracing import open_tracing
    from symbio_lab.service.worker import Worker

    settings = settings_with_store(context, store)
    log_as_json(settings.log_level)
    use_threads(settings.num_threads)
    tracing = open_tracing(traces)
    running = Worker(settings, service, tracing=tracing)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.stop())
    try:
        running.run()
    finally:
        if tracing is not None:
            tracing.close()


def _service(*, local: bool, markets: tuple[str, ...], limits: Sequence[str]) -> ServiceSettings:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401

        from symbio_lab.service.settings import ServiceSettings, read_limits
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "fastapi", "service") from error
    return ServiceSettings(local=local, markets=markets, **read_limits(limits))


def _serve(
    settings: Settings,
    service: ServiceSettings,
    named: Mapping[str, str],
    licences: Mapping[str, str],
    limits: Sequence[str],
    host: str,
    port: int,
    workers: int,
    traces: str | None,
) -> None:
    import uvicorn

    from symbio_lab.cli.service_logging import log_as_json
    from symbio_lab.models.loading import use_threads
    from symbio_lab.service.app import create_app
    from symbio_lab.service.registering import register_model
    from symbio_lab.service.settings import LOCAL_TENANT
    from symbio_lab.service.tracing import open_tracing

    log_as_json(settings.log_level)
    use_threads(settings.num_threads)
    tracing = open_tracing(traces)
    app = create_app(settings, service, tracing=tracing)
    state = app.state.service
    if service.local and state.tenants.find(LOCAL_TENANT) is None:
        state.tenants.create(LOCAL_TENANT, now=state.now())
        # What is contributed goes to a folder of this machine.
        state.tenants.set_policy(LOCAL_TENANT, {"allow_contribution": True})
    for model_id, source in named.items():
        found = register_model(state, model_id, source, licence=licences.get(model_id))
        said = found.licence or "licence not known: nothing made from it is contributed"
        typer.echo(f"model {model_id}: {found.task_type}, base {found.digest[:16]}, {said}", err=True)
    if service.local:
        typer.echo("LOCAL MODE: no keys, one tenant, whoever reaches this port may do everything", err=True)
    command = [sys.executable, "-m", "symbio_lab.cli.app", "worker", *(["--local"] if service.local else [])]
    for uri in service.markets:
        command += ["--market", uri]
    for text in limits:
        command += ["--limit", text]
    command += [] if traces is None else ["--traces", traces]
    children = [subprocess.Popen(command) for _ in range(workers)]
    config = uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    sockets = [_bound(host, port)]
    typer.echo(f"http://{host}:{sockets[0].getsockname()[1]}  (docs at /docs, dashboard at /dashboard)", err=False)
    sys.stdout.flush()
    try:
        server.run(sockets)
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
        if tracing is not None:
            tracing.close()


def _bound(host: str, port: int) -> socket.socket:
    """Return a bound socket whose connections send at once.

    asyncio turns Nagle's algorithm off only for sockets that name TCP; without that an answer's body waits 40 ms for
    the client to acknowledge its header.

    Raises:
        ConfigError: the address is not this machine's, or is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.set_inheritable(True)
    except OSError as error:
        made.close()
        problem = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise ConfigError([problem], hint="choose another --port, or stop what has it") from error
    return made


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _named(option: str, what: str, text: str) -> tuple[str, str]:
    model_id, equals, value = text.partition("=")
    if not equals or not model_id.strip() or not value.strip():
        raise ConfigError(
            [f"{option} {text!r:.80} is not ID={what}"], hint="e.g. --model production-model-v1=./my-model"
        )
    return model_id.strip(), value.strip()
