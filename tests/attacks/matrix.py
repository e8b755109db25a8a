"""The attack matrix: one line for each attack, and the page that shows them.

``python -m tests.attacks.matrix`` writes ``docs/attacks.md`` anew; a test checks that the page is current.
"""

from __future__ import annotations

from pathlib import Path

from symbio_lab.codec import write_atomic
from tests.attacks import matrix_behaviour, matrix_bytes, matrix_keys, matrix_market
from tests.attacks.matrix_case import Line

MOST_SECONDS = 1.0
MOST_BYTES = 200 << 20
PAGE = Path(__file__).resolve().parents[2] / "docs" / "attacks.md"
SECTIONS: dict[str, tuple[Line, ...]] = {
    "Files, versions and states of a market": matrix_market.LINES,
    "Keys, names and votes": matrix_keys.LINES,
    "Bytes": matrix_bytes.LINES,
    "Behaviour": matrix_behaviour.LINES,
}
LINES = tuple(line for lines in SECTIONS.values() for line in lines)
INTRODUCTION = f"""\
# Attacks on the marketplace, and what stands in their way

This page is written by `python -m tests.attacks.matrix` from the lines that `tests/attacks/test_attack_matrix.py` runs.
Every line first shows that the honest case is accepted, then mounts the attack with the real market, client and
verifier, and expects the code of the refusal, in under {MOST_SECONDS:.0f} s and {MOST_BYTES >> 20} MiB of extra memory.
The tests named begin with `test_attack[`; `tests/attacks/` holds many more variants of each.

A code is stable: `symbio market verify` and `symbio market policy explain` print it, and so does every `--json` error.
Unless a line says otherwise, the attacker may write to the market, and signs with a key that the victim has enrolled.
"""
LIMITS = """\
## What is not caught

- **A hidden trigger.** A patch that answers rightly on failures and control traffic and wrongly on a phrase that none
  of the tenant's samples holds passes every trust rule and the gate: `test_a_hidden_trigger_is_not_caught` trains one
  and shows that it is accepted and works. A signature says who is to blame, not what the weights do. What helps: adopt
  from publishers you know, ask for evaluations by others (`min_level: evaluated`), keep control traffic that is wide,
  and roll back at the first report (`symbio rollback`).
- **Harm below the bounds.** The gate bounds the share of broken answers; a patch that breaks fewer than that is
  accepted on purpose. The policy `strict` lowers the bound and asks for more control samples.
- **The first contact.** An old state shown to a client that has never seen a newer one cannot be told from news before
  it expires. A registry with a short timestamp narrows that window; it does not close it.
- **A stolen key before anybody knows.** Until its revocation is accepted, what a stolen key signs is signed. The log of
  a market makes silent use visible to whoever reads it.
- **Organisations that vouch for anybody.** The weight of all keys below one organisation is one vote; several careless
  organisations are several votes.
- **What weights have learned by heart.** The screen for private data compares texts. A patch trained on private texts
  can reveal some of them to whoever probes it.
"""


def page() -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION]
    for title, lines in SECTIONS.items():
        parts.append(f"## {title}\n")
        rows = ["| attack | what the attacker does | control | code | test |", "|---|---|---|---|---|"]
        rows += [f"| {x.attack} | {x.does} | {x.control} | `{x.code}` | `{x.name}` |" for x in lines]
        parts.append("\n".join(rows) + "\n")
    return "\n".join([*parts, LIMITS])


if __name__ == "__main__":
    write_atomic(PAGE, page().encode("utf-8"))
