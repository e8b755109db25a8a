"""Offers of markets as the marketplace browser shows them: a row, and all that is known of one."""

from __future__ import annotations

from collections.abc import Sequence

from symbio_lab.display import words
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.numbers import NONE, num_bytes, percent
from symbio_lab.display.prose import code, esc, prose, stack
from symbio_lab.display.table import Cell, Column, name, table
from symbio_lab.marketplace.index import IndexEntry
from symbio_lab.marketplace.ratings import Rating
from symbio_lab.records import PatchManifest
from symbio_lab.trust.explaining import Explanation
from symbio_lab.widgets.views.table import TableColumn, TableEntry

OFFER_COLUMNS = (
    TableColumn("patch", "patch", width="minmax(9rem, 2fr)"),
    TableColumn("trust", "trust", width="10rem"),
    TableColumn("score", "match", number=True, width="5rem"),
    TableColumn("title", "what it is for", width="minmax(9rem, 4fr)"),
    TableColumn("claims", "claims", width="minmax(6rem, 2fr)"),
    TableColumn("licence", "licence", width="8rem"),
    TableColumn("size", "size", number=True, width="6rem"),
)


def offer_row(entry: IndexEntry, level: str, score: float | None) -> TableEntry:
    """Return one offer.

    Args:
        entry: as the market's index has it; its texts are the publisher's.
        level: trust level that its publisher has under the policy.
        score: how well it matches what was asked, in [0, 1]; None: nothing was asked.
    """
    said = entry.manifest
    size = float(sum(file.size_bytes for file in said.files)) if said else None
    trust = f"✓ {level}" if entry.problem is None else f"✗ {entry.problem.replace('_', ' ')}"
    title = said.title if said else "its manifest cannot be read"
    claims = claims_text(said) if said else ""
    match = NONE if score is None else f"{score:.2f}"
    cells = (entry.ref, trust, match, title, claims, said.licence if said else NONE, num_bytes(size))
    keys = (entry.ref, trust, score, title.casefold(), claims, cells[5], size)
    return TableEntry(row_id(entry), cells, keys, ("", "good" if entry.problem is None else "bad", "", "", "", "", ""))


def row_id(entry: IndexEntry) -> str:
    """Return the id of an offer's row: equal references in two markets are two offers."""
    return f"{entry.market} {entry.ref}"


def claims_text(manifest: PatchManifest) -> str:
    """Return what the publisher claims, in one line.

    >>> from types import SimpleNamespace
    >>> claims_text(SimpleNamespace(claims=(SimpleNamespace(name="fix_rate", value=0.5, n=40),)))
    'fix_rate 50.0 % (n 40)'
    """
    return ", ".join(f"{c.name} {percent(c.value)} (n {c.n})" for c in manifest.claims)


def offer_detail(
    entry: IndexEntry, explanation: Explanation | None, rating: Rating | None, lineage: Sequence[str]
) -> Bundle:
    """Return everything that is known of one offer.

    Args:
        entry: the offer.
        explanation: every trust rule and what it says; None where the manifest could not be read.
        rating: what independent voices say; None where it could not be rated.
        lineage: patches that it was made from, nearest first.
    """
    said = entry.manifest
    parts = []
    if entry.problem is not None:
        parts.append(
            prose(
                f"{code(entry.ref)} is refused: {esc(words.verdict(entry.problem))}. {esc(entry.detail)}",
                tone="warning",
            )
        )
    if said is not None:
        parts.append(_manifest_table(entry, said, lineage))
    if explanation is not None:
        rows = [
            [r.rule, "not judged" if not r.judged else r.code or "kept", r.detail or r.asks]
            for r in explanation.rulings
        ]
        columns = [Column("rule"), Column("verdict"), Column("what it asks, or why it refuses")]
        parts.append(
            table(columns, rows, f"Trust rules, in the order in which they are judged; level {explanation.level}")
        )
    if rating is not None:
        parts.append(_rating_table(rating))
    return stack(*parts)


def _manifest_table(entry: IndexEntry, said: PatchManifest, lineage: Sequence[str]) -> Bundle:
    labels = ", ".join(said.labels[:20]) + (f" and {len(said.labels) - 20} more" if len(said.labels) > 20 else "")
    adapter = said.adapter
    shape = f"{adapter.kind}, rank {adapter.rank}" if adapter.rank else adapter.kind
    rows: list[list[Cell | str]] = [
        ["patch", name(f"{said.patch_id}@{said.version}")],
        ["for", said.title],
        ["scope", said.scope],
        ["domain", said.domain],
        ["labels", labels],
        ["base", Cell(said.base_id, said.base_digest[:16])],
        ["adapter", Cell(shape, ", ".join(adapter.target_modules))],
        ["training data", said.training_data],
        ["claims", claims_text(said) or "none"],
        ["licence", said.licence],
        ["publisher", name(said.keyid[:16])],
        ["issued, expires", f"{said.issued}, {said.expires}"],
        ["made from", ", ".join(lineage) or "nothing else"],
        ["payload digest", name(entry.digest[:32])],
    ]
    return table([Column("field"), Column("what the publisher says")], rows, "The manifest, as it was signed")


def _rating_table(rating: Rating) -> Bundle:
    caption = (
        f"Evaluations: {rating.n} count, through {rating.num_vouchers} organisations; at least "
        f"{percent(rating.lower)} pass (Wilson). {rating.num_confirming} bear out a claim, "
        f"{rating.num_disputing} dispute one"
    )
    columns = [
        Column("rater"),
        Column("n", True),
        Column("before", True),
        Column("after", True),
        Column("claims"),
        Column(""),
    ]
    rows = [
        [
            name(vote.keyid[:16]),
            str(vote.statement.n),
            percent(vote.statement.before_ppm / 1e6),
            percent(vote.statement.after_ppm / 1e6),
            vote.verdict,
            vote.note or f"weight {vote.weight:.2f}",
        ]
        for vote in rating.votes
    ]
    return table(columns, rows, caption)
