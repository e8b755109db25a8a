"""The trust manager: whose keys count, what the policy asks, and what it would refuse and why.

No secret passes through it: what needs a passphrase is done by ``symbio market keys`` in a terminal, and the manager
shows the command.

Example::

    TrustManager(markets=["file:///shared/market"])
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import yaml

from symbio_lab.codec import write_atomic
from symbio_lab.config import Settings, load_settings
from symbio_lab.display import words
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import esc, prose, stack
from symbio_lab.display.table import Column, TableRow, table
from symbio_lab.errors import ConfigError, SymbioError
from symbio_lab.marketplace.index import build_index
from symbio_lab.marketplace.opening import open_transport
from symbio_lab.store.observed_time import utc_now
from symbio_lab.trust import enrolled
from symbio_lab.trust.key_card import read_card
from symbio_lab.trust.key_ring import KeyRing
from symbio_lab.trust.policy import PublisherKey, TrustPolicy
from symbio_lab.trust.policy_file import parse_policy_file
from symbio_lab.trust.policy_words import describe_policy, doubts_about
from symbio_lab.widgets.panel import Panel, button, flow, labelled
from symbio_lab.widgets.views.table import TableColumn, TableEntry, TableView

_KEYS = (
    TableColumn("who", "whose", width="minmax(9rem, 2fr)"),
    TableColumn("keyid", "key", width="10rem"),
    TableColumn("rights", "rights", width="8rem"),
    TableColumn("names", "namespaces", width="minmax(8rem, 2fr)"),
    TableColumn("state", "state", width="minmax(8rem, 2fr)"),
)
_RULED = (
    TableColumn("patch", "patch", width="minmax(11rem, 2fr)"),
    TableColumn("ruling", "ruling", width="9rem"),
    TableColumn("why", "why", width="minmax(14rem, 4fr)"),
)
NEW_POLICY = """\
version: 1
default:
  min_level: signed
"""


class TrustManager(Panel):
    """Keys and policy of this installation."""

    def __init__(
        self,
        *,
        policy: str | Path | None = None,
        markets: Sequence[str] = (),
        settings: Settings | None = None,
    ) -> None:
        """Show the keys that count here, and a policy to edit.

        Args:
            policy: policy file; None takes the installation's, ``trust-policy.yaml`` in the state folder.
            markets: addresses of markets that *Try* judges.
            settings: state folder; None loads them.

        Raises:
            DataError: the file of an enrolled key is damaged.
        """
        self.settings = settings or load_settings().settings
        self.markets = tuple(markets)
        self.file = Path(policy) if policy is not None else self.settings.home / enrolled.POLICY_FILE_NAME
        self.problems: tuple[str, ...] = ()
        self.key_table = TableView(_KEYS, caption="Keys that count here", empty="no key counts yet")
        self.key_table.add_class("sl-keys")
        self.card = labelled(ipywidgets.Text(placeholder="card, or public key (64 hex)", description="Enrol"), "card")
        self.card.layout.width = "30rem"
        self.who = labelled(ipywidgets.Text(placeholder="whose key it is", description="Name"), "who")
        self.known = labelled(ipywidgets.Checkbox(description="known: their evaluations count", indent=False), "known")
        self.enrol_button = button("Enrol", "enrol", self.enrol)
        self.reason = labelled(ipywidgets.Text(placeholder="why, for people to read", description="Reason"), "reason")
        self.revoke_button = button("Revoke chosen", "revoke", self.revoke, kind="danger")
        self.text = labelled(ipywidgets.Textarea(value=self._policy_text(), description="Policy"), "policy")
        self.text.layout = ipywidgets.Layout(width="100%", height="14rem")
        self.said = ipywidgets.HTML()
        self.said.add_class("sl-policy-words")
        self.save_button = button("Save policy", "save-policy", self.save, kind="primary")
        self.try_button = button(
            "Try on markets", "try-policy", self.judge, tip="What this policy would refuse, and why"
        )
        self.rulings = TableView(_RULED, caption="What the policy says", empty="not tried yet")
        self.rulings.add_class("sl-rulings")
        lines = flow()
        super().__init__(
            "Trust",
            [
                self.key_table,
                ipywidgets.Box((self.card, self.who, self.known, self.enrol_button), layout=lines),
                ipywidgets.Box((self.reason, self.revoke_button), layout=lines),
                self.text,
                self.said,
                ipywidgets.Box((self.save_button, self.try_button), layout=lines),
                self.rulings,
            ],
            name="trust-manager",
        )
        self.text.observe(lambda _: self.check(), "value")
        self.show_keys()
        self.check()
        self.refresh_code()

    @property
    def policy(self) -> TrustPolicy:
        """The policy as it stands in the text, with the keys that count here.

        Raises:
            ConfigError: the text is no policy; all problems at once.
        """
        try:
            value = yaml.safe_load(self.text.value)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"line {mark.line + 1}: " if mark is not None else ""
            raise ConfigError([f"{where}{getattr(error, 'problem', error)}"], hint="mend the YAML") from error
        read = parse_policy_file(value, self.file.parent, self.file.name)
        return enrolled.with_enrolled(read.default, self.settings)

    def check(self) -> None:
        """Say what the text means, or everything that is wrong with it."""
        try:
            policy = self.policy
        except ConfigError as error:
            self.problems = tuple(error.problems)
            items = "".join(f"<li>{esc(problem)}</li>" for problem in error.problems)
            self.said.value = f'<div role="alert"><strong>Problems</strong><ul>{items}</ul></div>'
            self.save_button.disabled = self.try_button.disabled = True
            return
        self.problems = ()
        self.save_button.disabled = self.try_button.disabled = False
        lines = "".join(f"<li>{esc(line)}</li>" for line in describe_policy(policy))
        doubts = "".join(f"<li><strong>note:</strong> {esc(line)}</li>" for line in doubts_about(policy))
        self.said.value = f"<ul>{lines}{doubts}</ul>"

    def show_keys(self) -> None:
        """Read the keys again."""
        policy = enrolled.enrolled_policy(self.settings)
        own = {key.keyid: key.name for key in KeyRing(self.settings.keys).stored()}
        rows = []
        for keyid, key in policy.keys.items():
            rights = "trusted" if keyid in policy.trusted else "known" if key.known else "enrolled"
            heir = policy.successors.get(keyid)
            state = "REVOKED" if keyid in policy.revoked else f"succeeded by {heir[:12]}" if heir else "counts"
            who = f"{key.name} (ours: {own[keyid]})" if keyid in own else key.name
            cells = (who, keyid[:16], rights, " ".join(key.namespaces) or "any free", state)
            tone = "bad" if keyid in policy.revoked else ""
            rows.append(TableEntry(keyid, cells, (), ("", "", "", "", tone)))
        self.key_table.show(rows, f"{len(rows)} keys count here")

    def enrol(self) -> None:
        """Accept patches signed by the key on the card from now on."""

        def work() -> str:
            if not self.who.value.strip():
                raise ConfigError(["say whose key it is"], hint="fill in Name")
            entry = enrolled.EnrolledKey(
                PublisherKey(read_card(self.card.value.strip()), self.who.value.strip(), self.known.value)
            )
            enrolled.enrol(self.settings, entry)
            return entry.keyid

        keyid = self.guarded(work)
        if keyid is not None:
            self.show_keys()
            self.check()
            self.status.say(f"enrolled {self.who.value.strip()}: {keyid[:16]}; compare it by another way", "good")

    def revoke(self) -> None:
        """Revoke the chosen key here at once."""

        def work() -> str:
            if not self.key_table.chosen:
                raise ConfigError(["no key is chosen"], hint="choose one in the table")
            if not self.reason.value.strip():
                raise ConfigError(["say why"], hint="fill in Reason")
            keyid = str(self.key_table.chosen[-1])
            enrolled.revoke_here(self.settings, keyid, reason=self.reason.value.strip(), now=utc_now())
            return keyid

        keyid = self.guarded(work)
        if keyid is not None:
            self.show_keys()
            self.check()
            self.status.say(
                f"revoked {keyid[:16]}; to hand on a signed revocation: symbio market keys revoke {keyid[:16]}"
            )

    def save(self) -> None:
        """Write the policy file, whole or not at all."""
        text = self.text.value
        if self.guarded(lambda: self.policy) is None:
            return
        self.guarded(lambda: write_atomic(self.file, lambda path: _write(path, text)))
        self.status.say(f"saved {self.file}", "good")

    def judge(self) -> None:
        """List what the policy says to every offer of the markets, in a thread."""
        policy = self.guarded(lambda: self.policy)
        if policy is None:
            return
        if not self.markets:
            self.status.say("no market was named: TrustManager(markets=[...])", "bad")
            return
        self.try_button.disabled = True
        self.status.say("judging ...")
        threading.Thread(target=self._judge, args=(policy,), daemon=True, name="symbio-trust").start()

    def code(self) -> str:
        """Return the calls behind the buttons."""
        return (
            "from symbio_lab.config import load_settings\n"
            "from symbio_lab.trust.enrolled import enrolled_policy\n"
            "from symbio_lab.trust.policy_words import describe_policy\n\n"
            "print(*describe_policy(enrolled_policy(load_settings().settings)), sep='\\n')\n"
            f"# in a terminal: symbio market policy check {self.file}\n"
            "# symbio market keys new | list | export | enrol | accept | revoke | rotate | protect"
        )

    def twin(self) -> Bundle:
        """Return keys and rulings."""
        columns = [Column(c.title) for c in _KEYS]
        keys: list[TableRow] = [list(row.cells) for row in self.key_table.entries]
        parts = [table(columns, keys, self.key_table.caption)]
        if self.rulings.entries:
            rows: list[TableRow] = [list(row.cells) for row in self.rulings.entries]
            parts.append(table([Column(c.title) for c in _RULED], rows, self.rulings.caption))
        elif self.problems:
            parts.append(prose(esc("; ".join(self.problems)), tone="warning"))
        return stack(*parts)

    def _judge(self, policy: TrustPolicy) -> None:
        rows: list[TableEntry] = []
        codes: Counter[str] = Counter()
        try:
            for address in self.markets:
                for entry in build_index(open_transport(address), policy, now=utc_now()).entries:
                    codes[entry.problem or "accepted"] += 1
                    why = f"{words.verdict(entry.problem)}: {entry.detail}" if entry.problem else ""
                    ruling = entry.problem.replace("_", " ") if entry.problem else "accepted"
                    tone = "bad" if entry.problem else "good"
                    rows.append(TableEntry(f"{address} {entry.ref}", (entry.ref, ruling, why), (), ("", tone, "")))
        except SymbioError as error:
            self.status.say(f"{error}. Next: {error.hint}", "bad")
        else:
            self.rulings.show(rows, f"{codes['accepted']} of {len(rows)} offers would be accepted")
            said = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in codes.most_common())
            self.status.say(said or "the markets hold nothing", "good")
        finally:
            self.try_button.disabled = False

    def _policy_text(self) -> str:
        if not self.file.is_file():
            return NEW_POLICY
        try:
            return self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return NEW_POLICY


def _write(path: Path, text: Any) -> None:
    path.write_text(text, encoding="utf-8")
