"""The marketplace browser: what markets offer, whom it comes from, what others measured, and what a policy says to it.

Example::

    browser = MarketplaceBrowser.of_markets("file:///shared/market", "hf://alice")
    browser.show("warranty claims")
    browser.install()                     # the chosen one, verified, into the patch store
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets

from symbio_lab.config import Settings, load_settings
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import code, prose, stack
from symbio_lab.display.table import Column, table
from symbio_lab.errors import NotFoundError, SymbioError
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.marketplace.lexical import WordIndex
from symbio_lab.marketplace.opening import open_transport
from symbio_lab.marketplace.ratings import Rating, rate
from symbio_lab.records import Candidate, content_id
from symbio_lab.store.observed_time import utc_now
from symbio_lab.trust.enrolled import enrolled_policy
from symbio_lab.trust.explaining import Explanation, explain_envelope
from symbio_lab.trust.policy import LEVELS, level_of, reaches
from symbio_lab.trust.seen_versions import load_seen
from symbio_lab.widgets.child import Child, Ended
from symbio_lab.widgets.market_rows import OFFER_COLUMNS, offer_detail, offer_row, row_id
from symbio_lab.widgets.panel import WorkingPanel, button, flow, labelled
from symbio_lab.widgets.views.table import TableEntry, TableView

NUM_TWIN_ROWS = 30
ANY = "any"


class MarketplaceBrowser(WorkingPanel):
    """Look through markets, and take a verified patch home."""

    def __init__(
        self,
        client: MarketplaceClient,
        *,
        base_digest: str | None = None,
        query: str = "",
        suite: str = "",
    ) -> None:
        """Show what the client's markets offer; they are read in a thread where the client has not read them yet.

        Args:
            client: markets, policy and patch store.
            base_digest: digest of the base that patches must fit; None shows those of any.
            query: words to begin with.
            suite: a scenario that *Evaluate* runs a patch on.
        """
        self.client = client
        self.entries: dict[str, IndexEntry] = {}
        self._words = WordIndex(())
        self._rows: dict[str, tuple[str, TableEntry]] = {}
        self._guard = threading.Lock()
        self.query = labelled(
            ipywidgets.Text(value=query, placeholder="what should be healed", description="Find"), "find"
        )
        self.query.layout.width = "24rem"
        self.base = labelled(ipywidgets.Text(value=base_digest or "", placeholder="digest", description="Base"), "base")
        self.level = labelled(
            ipywidgets.Dropdown(options=[ANY, *LEVELS[1:]], value=ANY, description="Trust at least"), "level"
        )
        self.licence = labelled(ipywidgets.Dropdown(options=[ANY], value=ANY, description="Licence"), "licence")
        self.refused = labelled(ipywidgets.Checkbox(value=True, description="show refused", indent=False), "refused")
        self.suite = labelled(ipywidgets.Text(value=suite, placeholder="scenario", description="Suite"), "suite")
        self.reload_button = button("Read again", "reload", self.reload)
        self.install_button = button("Verify and install", "install", self.install, kind="primary")
        self.evaluate_button = button(
            "Evaluate", "evaluate", self.evaluate, tip="Run it on the suite and sign the result"
        )
        self.cancel_button = button("Cancel", "cancel", self.cancel)
        self.cancel_button.disabled = True
        self.table = TableView(OFFER_COLUMNS, caption="Offers", empty="the markets are being read ...")
        self.table.add_class("sl-offers")
        self.detail = ipywidgets.HTML()
        self.detail.add_class("sl-detail")
        lines = flow()
        super().__init__(
            "Marketplace",
            [
                ipywidgets.Box((self.query, self.base, self.level, self.licence, self.refused), layout=lines),
                self.table,
                ipywidgets.Box(
                    (self.install_button, self.suite, self.evaluate_button, self.cancel_button, self.reload_button),
                    layout=lines,
                ),
                self.detail,
            ],
            name="marketplace-browser",
        )
        for control in (self.query, self.base, self.level, self.licence, self.refused):
            control.observe(lambda _: self._filter(), "value")
        self.table.observe(lambda _: self._show_chosen(), "chosen")
        self.refresh_code()
        if client.has_read:
            self._take()
        else:
            self.reload()

    @classmethod
    def of_markets(cls, *addresses: str, settings: Settings | None = None, **options: Any) -> MarketplaceBrowser:
        """Return a browser of markets under this installation's trust policy and enrolled keys.

        Raises:
            ConfigError: an address or the policy is wrong.
        """
        found = settings or load_settings().settings
        seen = found.home / "seen" / f"market-{content_id(sorted(addresses))[:16]}"
        transports = [open_transport(address) for address in addresses]
        policy = enrolled_policy(found)
        return cls(MarketplaceClient(transports, policy, found.patches, utc_now(), seen=seen), **options)

    @property
    def chosen(self) -> IndexEntry | None:
        """The offer whose row is chosen."""
        return self.entries.get(self.table.chosen[-1]) if self.table.chosen else None

    def reload(self) -> None:
        """Read the markets again, in a thread; what was shown stays until then."""
        self.status.say("reading the markets ...")
        self.reload_button.disabled = True
        threading.Thread(target=self._read, daemon=True, name="symbio-market").start()

    def show(self, query: str) -> None:
        """Look for words."""
        self.query.value = query

    def install(self) -> None:
        """Verify the chosen offer and keep it in the patch store; a refusal names the rule."""
        entry = self._wanted()
        if entry is None:
            return
        candidate = Candidate(entry.ref, entry.market, entry.manifest, 1.0, "chosen", entry.problem)

        def fetch() -> None:
            with self._guard:
                patch, attempt = self.client.fetch(candidate)
            if patch is None:
                self.status.say(f"{entry.ref} is refused: {attempt.code.replace('_', ' ')}: {attempt.detail}", "bad")
            else:
                self.status.say(f"{patch.patch_id} verified ({patch.level}), kept as {patch.digest[:12]}", "good")

        self._in_thread(fetch, self.install_button, f"verifying {entry.ref} ...")

    def evaluate(self) -> None:
        """Run the chosen offer on the suite and sign the result, by ``symbio market evaluate``."""
        entry = self._wanted()
        if entry is None:
            return
        if not self.suite.value.strip():
            self.status.say("name a suite first: a scenario such as clinc150/travel", "bad")
            return
        arguments = ["market", "evaluate", entry.ref, "--suite", self.suite.value.strip(), "--market", entry.market]
        self.child = Child(
            "symbio_lab.widgets.commands:run_symbio", {"arguments": arguments}, on_end=self._after_evaluate
        )
        self.evaluate_button.disabled, self.cancel_button.disabled = True, False
        self.status.say(f"evaluating {entry.ref} on {self.suite.value} ...")
        self.child.start()

    def code(self) -> str:
        """Return the search as a script."""
        addresses = ", ".join(repr(uri) for uri in self.client.transports)
        chosen = self.chosen
        fetch = f"\npatch, attempt = browser.client.fetch(browser.candidate({chosen.ref!r}))" if chosen else ""
        return (
            "from symbio_lab.widgets import MarketplaceBrowser\n\n"
            f"browser = MarketplaceBrowser.of_markets({addresses}, query={self.query.value!r}){fetch}"
        )

    def candidate(self, ref: str) -> Candidate:
        """Return an offer by its reference, to be fetched.

        Raises:
            NotFoundError: no market offers it.
        """
        entry = next((e for e in self.entries.values() if e.ref == ref), None)
        if entry is None:
            raise NotFoundError(f"no market offers {ref}", hint="browser.entries lists what they offer")
        return Candidate(entry.ref, entry.market, entry.manifest, 1.0, "asked for by name", entry.problem)

    def twin(self) -> Bundle:
        """Return the first offers and the chosen one's manifest."""
        if not self.entries:
            return prose(
                f"The markets were not read yet. After {code('client.refresh()')} the offers stand here, in a shared "
                "copy of the notebook too."
            )
        columns = [Column(c.title, c.number) for c in OFFER_COLUMNS]
        rows = [list(row.cells) for row in self.table.entries[:NUM_TWIN_ROWS]]
        shown = table(columns, rows, f"{self.table.caption}; at most {NUM_TWIN_ROWS} are shown here")
        entry = self.chosen
        return stack(shown, offer_detail(entry, None, None, ())) if entry is not None else shown

    def _read(self) -> None:
        try:
            with self._guard:
                self.client.refresh(utc_now())
            self._take()
        except SymbioError as error:
            self.status.say(f"{error}. Next: {error.hint}", "bad")
        finally:
            self.reload_button.disabled = False

    def _take(self) -> None:
        """Show what the client has read."""
        found = [entry for index in self.client.indices for entry in index.entries]
        self.entries = {row_id(entry): entry for entry in found}
        self._words = WordIndex([f"{entry.ref.replace('/', ' ')} {entry.card_text}" for entry in found])
        levels = {key: level_of(key, self.client.policy) for key in {entry.keyid for entry in found}}
        self._rows = {
            row_id(entry): (levels[entry.keyid], offer_row(entry, levels[entry.keyid], None)) for entry in found
        }
        licences = sorted({e.manifest.licence for e in found if e.manifest is not None})
        self.licence.options = [ANY, *licences]
        refused = sum(entry.problem is not None for entry in found)
        self.status.say(f"{len(found):,} offers in {len(self.client.transports)} markets, {refused:,} refused")
        self.table.empty = "nothing matches"
        self._filter()

    def _filter(self) -> None:
        asked = self.query.value.strip()
        scores = self._words.scores(asked)
        rows: list[tuple[float, TableEntry]] = []
        for (key, entry), score in zip(self.entries.items(), scores, strict=True):
            level, row = self._rows[key]
            if (asked and score <= 0.0) or not self._passes(entry, level):
                continue
            rows.append((score, offer_row(entry, level, score) if asked else row))
        rows.sort(key=lambda pair: -pair[0])
        self.table.show([row for _, row in rows], f"{len(rows):,} of {len(self.entries):,} offers")
        self.refresh_code()

    def _passes(self, entry: IndexEntry, level: str) -> bool:
        said = entry.manifest
        if entry.problem is not None and not self.refused.value:
            return False
        if self.level.value != ANY and not reaches(level, self.level.value):
            return False
        if said is None:
            return self.licence.value == ANY and not self.base.value.strip()
        return self.licence.value in (ANY, said.licence) and said.base_digest.startswith(self.base.value.strip())

    def _show_chosen(self) -> None:
        self.refresh_code()
        entry = self.chosen
        self.detail.value = ""
        if entry is not None:
            threading.Thread(target=self._read_detail, args=(entry,), daemon=True, name="symbio-offer").start()

    def _read_detail(self, entry: IndexEntry) -> None:
        with self._guard:
            explanation, rating = self._explained(entry), self._rated(entry)
        lineage = entry.manifest.lineage if entry.manifest is not None else ()
        if self.chosen == entry:
            self.detail.value = offer_detail(entry, explanation, rating, lineage).html

    def _explained(self, entry: IndexEntry) -> Explanation | None:
        transport = self.client.transports[entry.market]
        try:
            envelope = transport.read_manifest(entry.ref)
            evaluations = transport.read_evaluations(entry.digest) if entry.digest else []
            state = load_seen(self.client.seen)
            return explain_envelope(
                envelope, self.client.policy, state, now=self.client.now, expect_ref=entry.ref, evaluations=evaluations
            )
        except SymbioError:
            return None

    def _rated(self, entry: IndexEntry) -> Rating | None:
        if entry.problem is not None or entry.manifest is None:
            return None
        asked = Candidate(entry.ref, entry.market, entry.manifest, 1.0, "chosen")
        try:
            return rate(asked, [self.client.transports[entry.market]], self.client.policy, self.client.now)
        except SymbioError:
            return None

    def _wanted(self) -> IndexEntry | None:
        if self.chosen is None:
            self.status.say("choose an offer in the table first", "bad")
        return self.chosen

    def _in_thread(self, work: Callable[[], None], clicked: ipywidgets.Button, said: str) -> None:
        def run() -> None:
            try:
                self.guarded(work)
            finally:
                clicked.disabled = False

        clicked.disabled = True
        self.status.say(said)
        threading.Thread(target=run, daemon=True, name="symbio-market").start()

    def _after_evaluate(self, ended: Ended) -> None:
        self.evaluate_button.disabled, self.cancel_button.disabled = False, True
        if ended.status == "finished":
            said: Sequence[Any] = ended.result.get("measures", ())
            rates = ", ".join(f"{one['name']} {one['hits']} of {one['n']}" for one in said)
            self.status.say(f"evaluated and signed: {rates}", "good")
        else:
            self.say_failed(ended)
