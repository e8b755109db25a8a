"""The service's dashboard in a browser: live, by keyboard, in text only, and with nobody else asked."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn

from symbio_lab.config import Settings
from symbio_lab.records import Deployment, FailureRecord, PredictionRecord
from symbio_lab.service.app import create_app
from symbio_lab.service.registering import register_model
from symbio_lab.service.settings import LOCAL_TENANT, ServiceSettings
from symbio_lab.service.state import ServiceState
from symbio_lab.store.registered_models import RegisteredModel
from tests.fixtures_models import TinyModels
from tests.fixtures_models import tiny as tiny

EVIL = "<script>window.wasRun = 1</script><img src=x onerror='window.wasRun = 2'>"
MODEL = "production-model-v1"
HEALING = {"model_id": MODEL, "task_type": "text_classification", "domain": "travel"}


class Served:
    """An app on a loopback port."""

    def __init__(self, home: Path, *, local: bool) -> None:
        app = create_app(Settings(home=home, num_threads=1), ServiceSettings(local=local))
        self.state: ServiceState = app.state.service
        self.tenant = LOCAL_TENANT if local else "acme"
        self.state.tenants.create(self.tenant, now=self.state.now())
        self.token = self.state.keys.create(self.tenant, ["admin"], now=self.state.now())[0]
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
        self._server = uvicorn.Server(config)
        sockets = [config.bind_socket()]
        self.address = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve(sockets)), daemon=True)
        self._thread.start()
        until = time.monotonic() + 20
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()

    def fill(self, base: Path) -> None:
        """Give the tenant models, traffic that went bad, jobs and deployments."""
        state, now = self.state, self.state.now()
        registered = register_model(state, MODEL, str(base))
        state.models.register(RegisteredModel(self.tenant, EVIL, EVIL, None, "text_classification", "e" * 64, now))
        rows = [
            PredictionRecord(MODEL, "text_classification", f"text {n}", "a", "b" if n > 900 else "a", EVIL, self.tenant)
            for n in range(1200)
        ]
        state.predictions.append(rows)
        state.reports.append(
            [FailureRecord(MODEL, "text_classification", EVIL, EVIL, EVIL, "b", "a", tenant=self.tenant)]
        )
        digest = registered.digest
        line = None
        for number in range(2):
            previous = None if line is None else line.deployment_id
            name = f"publisher/travel-{number}"
            line = Deployment(
                self.tenant, MODEL, digest, f"{number}" * 64, name, "live", previous, f"2026-01-0{number + 1}T00:00:00Z"
            )
            state.ledger.append(line)
        # One more on top of the base itself, whose way back needs no files.
        other = Deployment(self.tenant, "chat", digest, "c" * 64, EVIL, "live", None, now, f"job 2: {EVIL}")
        state.models.register(RegisteredModel(self.tenant, "chat", str(base), None, "text_classification", digest, now))
        state.ledger.append(other)
        done = state.jobs.submit(self.tenant, "healing", HEALING, now="2026-01-02T00:00:00Z")
        assert state.jobs.claim("w", now=now) is not None
        result = {"status": "healed", "patch_id": EVIL}
        state.jobs.finish(done.job_id, "w", "succeeded", now=now, result=result)
        lost = state.jobs.submit(self.tenant, "surgery", {**HEALING, "domain": EVIL}, now="2026-01-03T00:00:00Z")
        assert state.jobs.claim("w", now=now) is not None
        error = {"code": "empty_slice", "message": EVIL, "hint": EVIL}
        state.jobs.finish(lost.job_id, "w", "failed", now=now, error=error)


@pytest.fixture
def keyed(tmp_path: Path, tiny: TinyModels) -> Iterator[Served]:
    served = Served(tmp_path, local=False)
    try:
        served.fill(tiny.folder("bert"))
        yield served
    finally:
        served.stop()


@pytest.fixture
def local(tmp_path: Path, tiny: TinyModels) -> Iterator[Served]:
    served = Served(tmp_path, local=True)
    try:
        served.fill(tiny.folder("bert"))
        yield served
    finally:
        served.stop()


class Page:
    """A page that notes what it asked for and what it complained about."""

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.context = browser.new_context(viewport={"width": 1240, "height": 1000}, **context)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.answer = self.page.goto(f"{address}/dashboard")

    def connect(self, token: str) -> None:
        self.page.get_by_label("Key", exact=True).fill(token)
        self.page.keyboard.press("Enter")

    def check_quiet(self, address: str, *, said: int = 0) -> None:
        assert len(self.said) == said, self.said
        strangers = [url for url in self.asked if not url.startswith((f"{address}/", "data:"))]
        assert strangers == []
        assert self.page.evaluate("() => window.wasRun") is None
        self.context.close()


def test_locally_it_shows_everything_without_a_key(browser: Any, local: Served) -> None:
    shown = Page(browser, local.address)
    page = shown.page
    page.get_by_role("row", name="degraded").or_(page.get_by_role("row", name="failing")).wait_for()
    assert page.get_by_text("Local mode: no keys").is_visible()
    assert page.get_by_label("Key", exact=True).is_hidden()
    figures = dict(
        zip(page.locator("#figures dt").all_inner_texts(), page.locator("#figures dd").all_inner_texts(), strict=True)
    )
    assert (figures["answers"], figures["deployments"], figures["open jobs"]) == ("1,200", "3", "0")
    assert page.locator("#jobs tbody tr").count() == 2
    assert page.locator("#deployments tbody tr").count() == 3
    # What others wrote stays text, wherever it is shown.
    assert page.locator("#health").get_by_text(EVIL, exact=True).count() == 1
    assert page.locator("#deployments").get_by_text(EVIL, exact=True).count() >= 1
    assert page.locator("#jobs").get_by_text(EVIL, exact=False).count() >= 2
    assert page.locator("main img, main script").count() == 0
    shown.check_quiet(local.address)


def test_a_job_moves_while_one_looks(browser: Any, local: Served) -> None:
    shown = Page(browser, local.address)
    page = shown.page
    page.locator("#jobs tbody tr").first.wait_for()
    job = local.state.jobs.submit(local.tenant, "healing", HEALING, now=local.state.now())
    row = page.locator(f'#jobs tr[data-key="{job.job_id}"]')
    row.get_by_text("queued", exact=False).wait_for(timeout=8000)
    row.get_by_role("button", name="Events").click()
    local.state.jobs.claim("w", now=local.state.now())
    local.state.jobs.note(job.job_id, "w", {"event": "PhaseStarted", "phase": EVIL}, stage="screen")
    row.get_by_text("running: screen").wait_for(timeout=8000)
    page.locator("#events li").get_by_text(f"PhaseStarted  phase={EVIL}").wait_for(timeout=8000)
    local.state.jobs.finish(job.job_id, "w", "succeeded", now=local.state.now(), result={"status": "rejected"})
    row.get_by_text("succeeded", exact=True).wait_for(timeout=8000)
    page.locator("#events li").get_by_text("JobEnded  state=succeeded").wait_for(timeout=8000)
    numbers = page.locator("#events .number").all_inner_texts()
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    shown.check_quiet(local.address)


def test_a_queued_job_is_cancelled_by_keyboard(browser: Any, local: Served) -> None:
    job = local.state.jobs.submit(local.tenant, "healing", HEALING, now=local.state.now())
    shown = Page(browser, local.address)
    row = shown.page.locator(f'#jobs tr[data-key="{job.job_id}"]')
    row.get_by_role("button", name=f"Cancel job {job.job_id[:8]}").focus()
    shown.page.keyboard.press("Enter")
    row.get_by_text("cancelled", exact=True).wait_for(timeout=8000)
    assert local.state.jobs.get(local.tenant, job.job_id).state == "cancelled"
    shown.check_quiet(local.address)


def test_with_keys_it_rolls_back_when_it_is_confirmed(browser: Any, keyed: Served) -> None:
    shown = Page(browser, keyed.address)
    page = shown.page
    assert page.locator("#panels").is_hidden()
    shown.connect(keyed.token)
    page.get_by_role("button", name="Roll back chat").click()
    dialog = page.get_by_role("dialog")
    assert EVIL in dialog.inner_text()
    dialog.get_by_role("button", name="Keep it").click()
    before = len(keyed.state.ledger.lines(tenant="acme"))
    page.get_by_role("button", name="Roll back chat").click()
    dialog.get_by_role("button", name="Roll back").click()
    page.get_by_text("chat is rolled back.").wait_for(timeout=8000)
    page.locator("#deployments").get_by_text("rolled_back", exact=True).wait_for()
    lines = keyed.state.ledger.lines(tenant="acme")
    assert (len(lines), lines[-1].stage, lines[-1].patch_digest) == (before + 1, "rolled_back", None)
    assert page.get_by_role("button", name="Roll back chat").count() == 0
    # The key is nowhere but in the page's memory.
    kept = page.evaluate(
        "() => JSON.stringify([localStorage, sessionStorage, document.cookie, location.href, history.state])"
    )
    assert keyed.token not in kept + page.content() + "".join(shown.asked)
    assert shown.context.cookies() == []
    page.get_by_role("button", name="Forget key").click()
    assert page.locator("#panels").is_hidden()
    assert page.locator("#deployments tbody tr").count() == 0
    shown.check_quiet(keyed.address)


def test_a_wrong_key_is_told(browser: Any, keyed: Served) -> None:
    shown = Page(browser, keyed.address)
    shown.connect("sl_0123456789abcdef_" + "x" * 43)
    shown.page.get_by_role("alert").get_by_text("This is not a valid key.").wait_for()
    assert shown.page.get_by_label("Key", exact=True).is_visible()
    assert shown.page.get_by_label("Key", exact=True).input_value() == ""
    # The browser itself notes the answer 401, once.
    shown.check_quiet(keyed.address, said=1)


def test_a_key_that_may_not_read_is_told_what_it_lacks(browser: Any, keyed: Served) -> None:
    token = keyed.state.keys.create("acme", ["predict"], now=keyed.state.now())[0]
    shown = Page(browser, keyed.address)
    shown.connect(token)
    shown.page.get_by_role("alert").get_by_text("the key lacks the scope read").wait_for()
    shown.check_quiet(keyed.address, said=1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1240, 390])
def test_it_reads_well_in_both_schemes_and_on_a_phone(browser: Any, local: Served, scheme: str, width: int) -> None:
    shown = Page(browser, local.address, color_scheme=scheme)
    page = shown.page
    page.set_viewport_size({"width": width, "height": 900})
    page.locator("#health tbody tr").first.wait_for()
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    ratios = page.evaluate(CONTRASTS)
    assert len(ratios) > 50
    assert min(ratios) >= 4.5
    shown.check_quiet(local.address)


CONTRASTS = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => numbers(text).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (one) => { for (let at = one; at; at = at.parentElement) {
    const found = getComputedStyle(at).backgroundColor, [, , , alpha = 1] = numbers(found);
    if (alpha > 0) return found; }
    return "rgb(255, 255, 255)"; };
  const hasWords = (one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...document.querySelectorAll("body *")]
    .filter((one) => one.offsetParent !== null && one.tagName !== "SCRIPT" && !one.disabled && hasWords(one));
  return texts.map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05); });
}"""


def test_the_policy_lets_nothing_in(browser: Any, local: Served) -> None:
    shown = Page(browser, local.address)
    policy = dict(part.strip().split(" ", 1) for part in shown.answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert all("unsafe" not in value and "*" not in value and "http" not in value for value in policy.values())
    # Markup that got in after all would be refused, and so would a request to somebody else.
    refused = shown.page.evaluate(
        """async () => { const found = [];
        try { document.body.innerHTML += '<img src=x>'; found.push('parsed'); } catch { found.push('refused'); }
        try { await fetch('http://127.0.0.1:1/'); found.push('asked'); } catch { found.push('refused'); }
        return found; }"""
    )
    assert refused == ["refused", "refused"]
    assert urlsplit(shown.page.url).query == ""
    shown.context.close()
