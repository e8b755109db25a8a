"""``symbio market serve``: a Hub of one's own on a loopback address, for labs and tests.

Rules:
    1. It answers on loopback addresses only and is not meant for the internet: its tokens are plain text.
    2. Everything it keeps lies in ``--dir``: it can be stopped or killed, and goes on there when it is started again.
       Tokens are not kept.
    3. It speaks the Hub's older protocol for large files, hence ``HF_HUB_DISABLE_XET=1`` among what it prints.
    4. Standard output is what other programs need, as ``NAME=VALUE`` lines; the rest goes to standard error.

Example:
    symbio market serve --dir hub --user alice=hf_alice --user bob
"""

from __future__ import annotations

import secrets
import signal
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from symbio_lab.errors import ConfigError

NOTICE = "for labs and tests, not for the internet"


def add_serving_commands(app: typer.Typer) -> None:
    """Register ``serve`` on ``symbio market``."""
    app.command("serve")(serve)


def serve(
    directory: Annotated[Path, typer.Option("--dir", help="Folder that holds everything; made if it is missing.")],
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.")] = 8765,
    user: Annotated[
        list[str] | None,
        typer.Option("--user", help="NAME=TOKEN, or NAME for a new token; may be repeated. Never a real Hub's token."),
    ] = None,
    org: Annotated[
        list[str] | None, typer.Option("--org", help="Organisation: NAME=MEMBER,MEMBER; may be repeated.")
    ] = None,
) -> None:
    """Serve a market on a Hub of your own until Ctrl-C: for labs and tests, not for the internet.

    Set what it prints in the environment of the programs that shall use it: HF_ENDPOINT, HF_HUB_DISABLE_XET and, to
    write, HF_TOKEN.
    """
    from symbio_lab.testing.loopback_hub import LoopbackHub

    users, drawn = read_users(user or ["lab"])
    hub = LoopbackHub(directory, users, read_orgs(org or ()), host=host, port=port)
    stopped = threading.Event()
    before = {sent: signal.signal(sent, lambda *_: stopped.set()) for sent in (signal.SIGINT, signal.SIGTERM)}
    try:
        with hub:
            typer.echo(f"HF_ENDPOINT={hub.endpoint}")
            typer.echo("HF_HUB_DISABLE_XET=1")
            for name in drawn:
                typer.echo(f"HF_TOKEN={users[name]}" if len(users) == 1 else f"HF_TOKEN_{name}={users[name]}")
            typer.echo(f"serving {directory} as {', '.join(users)} ({NOTICE}); Ctrl-C ends it", err=True)
            stopped.wait()
    finally:
        for sent, handler in before.items():
            signal.signal(sent, handler)
    typer.echo("stopped; everything is kept", err=True)


def read_users(stated: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the users with their tokens, and those whose token was drawn here.

    Args:
        stated: ``NAME=TOKEN``, or ``NAME`` for a drawn token.

    Raises:
        ConfigError: a name is stated twice, or is none.

    >>> read_users(["alice=hf_alice"])
    ({'alice': 'hf_alice'}, [])
    """
    users: dict[str, str] = {}
    drawn, problems = [], []
    for text in stated:
        name, given, token = text.partition("=")
        if not name or (given and not token):
            problems.append(f"--user {name!r:.40}: NAME=TOKEN or NAME is wanted")
        elif name in users:
            problems.append(f"--user names {name!r:.40} twice")
        else:
            users[name] = token or f"hf_{secrets.token_urlsafe(24)}"
            drawn += [] if given else [name]
    if problems:
        raise ConfigError(problems)
    return users, drawn


def read_orgs(stated: Iterable[str]) -> dict[str, Any]:
    """Return organisations with their members.

    Raises:
        ConfigError: one is not ``NAME=MEMBER,MEMBER``.

    >>> read_orgs(["lab=alice,bob"])
    {'lab': ['alice', 'bob']}
    """
    pairs = [text.partition("=") for text in stated]
    problems = [f"--org {name!r:.40} takes NAME=MEMBER,MEMBER" for name, _, members in pairs if not name or not members]
    if problems:
        raise ConfigError(problems)
    return {name: members.split(",") for name, _, members in pairs}
