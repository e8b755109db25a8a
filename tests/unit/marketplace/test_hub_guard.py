"""Calls of the client library under the guard, against a server that does whatever it likes."""

from __future__ import annotations

import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.utils import _http

from symbio_lab.errors import ConfigError, NetworkUnavailableError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.hub_calls import HubCalls
from symbio_lab.marketplace.hub_errors import AccessDeniedError, ConflictError
from symbio_lab.marketplace.hub_limits import HubLimits

SHA = "a" * 40
TOKEN = "hf_a-secret-that-nobody-may-see"
QUICK = HubLimits(timeout_s=0.3, deadline_s=1.0, first_wait_s=0.02, max_tries=3, max_wait_s=0.3, max_answer_bytes=9_999)
Handler = Callable[[BaseHTTPRequestHandler], None]


class Quiet(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that leave early are what is tested."""


class Server:
    """A server on loopback whose answers are functions."""

    def __init__(self) -> None:
        self.answer: Handler = answer_json({"id": "a/b", "sha": SHA})
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Answering(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
                outer.answer(self)

            do_HEAD = do_POST = do_GET

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = Quiet(("127.0.0.1", 0), Answering)
        self.http.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.http.server_port}"


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Handler:
    def send(handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        handler.rfile.read(length)
        handler.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"content-length": str(len(body)), **named}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return send


def answer_json(value: object, status: int = 200, **headers: str) -> Handler:
    return answer(status, json.dumps(value).encode(), **headers)


def in_turn(*answers: Handler) -> Handler:
    left = list(answers)

    def send(handler: BaseHTTPRequestHandler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return send


@pytest.fixture(scope="module")
def _server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
    thread.join()


@pytest.fixture
def server(_server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Server:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "agents.json"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    _server.seen.clear()
    _server.answer = answer_json({"id": "a/b", "sha": SHA})
    return _server


@pytest.fixture
def calls(server: Server) -> HubCalls:
    return HubCalls(server.endpoint, token=TOKEN, limits=QUICK)


def ask(calls: HubCalls, **settings: Any) -> str:
    return calls.call("read a/b", lambda api: str(api.model_info("a/b").sha), **settings)


def test_an_honest_answer_passes(calls: HubCalls, server: Server) -> None:
    assert ask(calls) == SHA
    ((path, headers),) = server.seen
    assert path == "/api/models/a/b"
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["accept-encoding"] == "identity"


def test_a_server_that_never_answers_is_left_in_time(calls: HubCalls, server: Server) -> None:
    server.answer = lambda handler: time.sleep(0.8)
    started = time.monotonic()
    with pytest.raises(NetworkUnavailableError, match="no answer") as refused:
        ask(calls)
    assert time.monotonic() - started < 1.5
    assert "HF_ENDPOINT" in refused.value.hint


def test_a_server_that_drips_is_left_in_time(calls: HubCalls, server: Server) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("content-length", "500")
        handler.end_headers()
        try:
            for _ in range(40):
                handler.wfile.write(b" ")
                time.sleep(0.05)
        except OSError:
            pass
        handler.close_connection = True

    server.answer = drip
    started = time.monotonic()
    with pytest.raises(NetworkUnavailableError):
        ask(calls)
    assert time.monotonic() - started < 1.6


def test_nobody_listens(server: Server) -> None:
    calls = HubCalls("http://127.0.0.1:9", limits=QUICK)
    with pytest.raises(NetworkUnavailableError, match="ConnectError"):
        ask(calls)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_failures_that_pass_are_tried_again(calls: HubCalls, server: Server, status: int) -> None:
    server.answer = in_turn(answer(status), answer(status), answer_json({"id": "a/b", "sha": SHA}))
    assert ask(calls) == SHA
    assert len(server.seen) == 3


def test_failures_that_stay_end_typed(calls: HubCalls, server: Server) -> None:
    server.answer = answer(503)
    with pytest.raises(NetworkUnavailableError, match="status 503"):
        ask(calls)
    assert len(server.seen) == QUICK.max_tries


def test_what_may_have_been_done_is_not_tried_again(calls: HubCalls, server: Server) -> None:
    server.answer = answer(503)
    with pytest.raises(NetworkUnavailableError):
        ask(calls, is_read=False)
    assert len(server.seen) == 1


def test_a_server_may_ask_to_wait_but_not_for_long(calls: HubCalls, server: Server) -> None:
    server.answer = in_turn(answer(429, retry_after="0"), answer_json({"id": "a/b", "sha": SHA}))
    assert ask(calls) == SHA
    server.seen.clear()
    server.answer = answer(429, retry_after="86400")
    started = time.monotonic()
    with pytest.raises(NetworkUnavailableError, match="429"):
        ask(calls)
    assert time.monotonic() - started < 0.5
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        answer_json({"id": "a/b", "sha": SHA}, x_repo_commit="../up"),
        answer(200, gzip.compress(b"{}"), content_encoding="gzip"),
        answer(200, b"x" * 10_000),
        answer(200, b"not json"),
        answer(200, b"[]"),
        answer_json({"sha": SHA}),
        answer(302, location="http://10.0.0.1/x"),
        answer(302, location="http://example.org/x"),
        answer(302, location="ftp://127.0.0.1/x"),
        answer(302, location="/api/models/a/b"),
    ],
    ids=["commit", "compressed", "too-large", "no-json", "no-object", "no-id", "private", "http", "ftp", "circle"],
)
def test_answers_outside_the_grammar_are_refused(calls: HubCalls, server: Server, wrong: Handler) -> None:
    server.answer = wrong
    with pytest.raises(TrustError) as refused:
        ask(calls)
    assert refused.value.code == "bad_response"


def test_a_body_without_a_declared_size_is_cut_off(calls: HubCalls, server: Server) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("transfer-encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b"400\r\n" + b"x" * 1024 + b"\r\n")
        except OSError:
            pass
        handler.close_connection = True

    server.answer = chunked
    with pytest.raises(TrustError, match="more than 9999"):
        ask(calls)


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (answer(401), ConfigError, "wants a token"),
        (answer(403), AccessDeniedError, "lacks the right"),
        (answer(403, x_error_code="GatedRepo"), AccessDeniedError, "let"),
        (answer(404), NotFoundError, "404"),
        (answer(404, x_error_code="RepoNotFound"), NotFoundError, "no such repository"),
        (answer(404, x_error_code="RevisionNotFound"), NotFoundError, "no such revision"),
        (answer(412), ConflictError, "412"),
        (answer(400), StorageError, "400"),
        (answer(418), StorageError, "418"),
    ],
)
def test_refusals_of_the_hub_are_typed(
    calls: HubCalls, server: Server, wrong: Handler, kind: type[Exception], said: str
) -> None:
    server.answer = wrong
    with pytest.raises(kind, match=said) as refused:
        ask(calls)
    assert len(server.seen) == 1
    assert getattr(refused.value, "hint", "")


def test_a_redirect_to_another_origin_gets_no_token(calls: HubCalls, server: Server) -> None:
    elsewhere = server.endpoint.replace("127.0.0.1", "localhost")
    server.answer = in_turn(answer(302, location=f"{elsewhere}/cdn"), answer_json({"id": "a/b", "sha": SHA}))
    assert ask(calls) == SHA
    assert ["authorization" in headers for _, headers in server.seen] == [True, False]


def test_a_next_page_at_another_origin_gets_no_token(calls: HubCalls, server: Server) -> None:
    elsewhere = server.endpoint.replace("127.0.0.1", "localhost")
    server.answer = in_turn(
        answer_json([{"id": "a/b"}], link=f'<{elsewhere}/page>; rel="next"'), answer_json([{"id": "a/c"}])
    )
    assert calls.call("list", lambda api: [model.id for model in api.list_models()]) == ["a/b", "a/c"]
    assert ["authorization" in headers for _, headers in server.seen] == [True, False]


def test_the_token_appears_nowhere(calls: HubCalls, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = [repr(calls), str(vars(calls))]
    for wrong in (
        answer_json({"error": f"the token {TOKEN} is odd"}, status=400, x_error_message=f"no {TOKEN}"),
        answer(401, x_error_message=f"no {TOKEN}"),
        answer(503),
        answer(200, TOKEN.encode()),
    ):
        server.answer = wrong
        with pytest.raises((ConfigError, StorageError, NetworkUnavailableError, TrustError)) as refused:
            ask(calls)
        said += [str(refused.value), repr(refused.value), json.dumps(refused.value.to_json())]
        assert refused.value.__cause__ is None
    # What the HTTP and client libraries log for themselves is theirs; ours must not repeat the token.
    said += [record.getMessage() for record in caplog.records if record.name.startswith("symbio_lab")]
    assert server.seen
    assert not [text for text in said if TOKEN in text]


def test_no_token_means_none_is_sent(server: Server) -> None:
    assert ask(HubCalls(server.endpoint, limits=QUICK)) == SHA
    assert "authorization" not in server.seen[0][1]


def test_the_token_of_this_machine_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ask(HubCalls(server.endpoint, limits=QUICK)) == SHA
    assert server.seen[0][1]["authorization"] == f"Bearer {TOKEN}"


def test_others_who_use_the_client_library_see_no_guard(calls: HubCalls, server: Server) -> None:
    assert ask(calls) == SHA
    server.answer = answer(503, etag='"../up"')
    response = get_session().get(f"{server.endpoint}/x")
    assert (response.status_code, response.headers["etag"]) == (503, '"../up"')


def test_a_client_that_somebody_else_set_is_guarded_and_kept(calls: HubCalls, server: Server) -> None:
    made = []

    def theirs() -> Any:
        client = _http.default_client_factory()
        client.headers["x-theirs"] = "yes"
        made.append(client)
        return client

    set_client_factory(theirs)
    try:
        assert ask(calls) == SHA
        assert made
        assert server.seen[-1][1]["x-theirs"] == "yes"
        server.answer = answer_json({"id": "a/b", "sha": SHA}, x_repo_commit="nonsense")
        with pytest.raises(TrustError):
            ask(calls)
    finally:
        set_client_factory(_http.default_client_factory)


def test_no_telemetry_is_sent(calls: HubCalls, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.utils import _detect_agent

    monkeypatch.setattr(_detect_agent, "_registry", None)
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    assert ask(calls) == SHA
    assert [path for path, _ in server.seen] == ["/api/models/a/b"]


def test_offline_sends_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    calls = HubCalls(server.endpoint, limits=QUICK)
    assert calls.offline
    with pytest.raises(NetworkUnavailableError, match="offline") as refused:
        ask(calls)
    assert "HF_HUB_OFFLINE" in refused.value.hint
    assert not server.seen


def test_one_deadline_for_all_calls_of_an_operation(calls: HubCalls, server: Server) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.2)
        answer_json({"id": "a/b", "sha": SHA})(handler)

    def ask_often() -> None:
        with calls.operation():
            for _ in range(20):
                ask(calls)

    server.answer = slow
    with pytest.raises(NetworkUnavailableError):
        ask_often()
    assert 3 <= len(server.seen) <= 6


def test_threads_do_not_share_an_allowance(calls: HubCalls, server: Server) -> None:
    small = HubCalls(server.endpoint, limits=HubLimits(max_answer_bytes=5, max_tries=1))
    outcomes: list[str] = []

    def run(one: HubCalls) -> None:
        for _ in range(5):
            try:
                outcomes.append(ask(one))
            except TrustError as error:
                outcomes.append(error.code)

    threads = [threading.Thread(target=run, args=(one,)) for one in (calls, small)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted([SHA] * 5 + ["bad_response"] * 5)
