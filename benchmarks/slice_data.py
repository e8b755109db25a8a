"""Traffic whose failing slices are known: planted ones, and four real data sets with groups of their own.

A real set's known slices are those of its groups that truly fail more often than the rest for the model at hand (odds
to fail at least ``ODDS_RATIO`` times those outside, Fisher p below ``P_VALUE``); groups that do not fail are no slices.
Models are logistic heads on the frozen encoder.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from symbio_lab.failures import apply_shift, generate_helpdesk, load_dataset, load_rows
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.monitor.enrichment import enrichment_p, odds_ratio
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.records import PredictionRecord, Sample
from symbio_lab.seeding import shuffled

ODDS_RATIO, P_VALUE, MIN_ROWS = 1.2, 0.01, 20
INSIDE, OUTSIDE = 0.65, 0.08
"""Planted failure rates."""
ROMAN_HINDI = frozenset(
    word
    for line in (
        "hai kya ko mein nahi nhi kaise kab kahan kyu kyun kitna kitne kitni karna karo kare krna krne mera meri mere",
        "mujhe aap bhai chahiye hua hoga hota raha rha rahe rhe liye aur bhi gaya gya tha jana lena dena batao bataye",
        "kuch koi haan",
    )
    for word in line.split()
)
"""Function words of Hindi in Latin letters, none of them English: what code-mixed means here; HINT3 does not say."""


@dataclass(frozen=True, slots=True)
class SliceWorld:
    """Traffic with known slices."""

    name: str
    traffic: Traffic
    embeddings: NDArray[np.float32]
    slices: dict[str, NDArray[np.bool_]]
    """Name -> rows inside, (N,)."""


def embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """Return unit vectors, (N, D), kept between runs under the digest of the texts."""
    digest = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:20]
    path = Path(tempfile.gettempdir()) / "symbio-bench-embeddings" / f"{digest}.npy"
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        np.save(path, SentenceEmbedder()(list(texts)))
    vectors: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return vectors


def _traffic(samples: Sequence[Sample], answers: Sequence[str], confidence: Sequence[float] | None = None) -> Traffic:
    given = confidence or [None] * len(samples)
    return traffic_of(
        PredictionRecord("m", "text_classification", s.text, a, s.expected, confidence=c, event_id=str(i))
        for i, (s, a, c) in enumerate(zip(samples, answers, given, strict=True))
    )


def planted(seed: int) -> SliceWorld:
    """Return help-desk requests with three failing topics, failing negation and failing typing errors."""
    rng = np.random.default_rng(seed)
    data = generate_helpdesk(seed=0)
    pool = [s for part in ("train", "test") for s in data.samples[part]]
    plain = shuffled(pool, 0, "planted")[:2400]
    texts, forms = list(plain), np.zeros((2, len(plain)), dtype=np.bool_)
    for row, (shift, start) in enumerate((("negation", 0), ("typos", 170))):
        for i in range(start, start + 170):
            changed = apply_shift([plain[i]], shift, 0)
            if changed:
                texts[i], forms[row, i] = changed[0], True
    topics = sorted({s.expected for s in texts})
    gold = np.array([topics.index(s.expected) for s in texts])
    slices = {f"topic {topics[t]}": gold == t for t in rng.choice(len(topics), 3, replace=False)}
    slices |= {"negation": forms[0], "typing errors": forms[1]}
    rate = np.where(np.any(list(slices.values()), axis=0), INSIDE, OUTSIDE)
    wrong = rng.random(len(texts)) < rate
    answer = np.where(wrong, (gold + rng.integers(1, len(topics), len(texts))) % len(topics), gold)
    traffic = _traffic(texts, [topics[a] for a in answer])
    return SliceWorld(f"planted {seed}", traffic, embed([s.text for s in texts]), slices)


def _real(name: str, train: Sequence[Sample], test: Sequence[Sample], groups: dict[str, Sequence[bool]]) -> SliceWorld:
    head = LogisticRegression(max_iter=1000).fit(embed([s.text for s in train]), [s.expected for s in train])
    vectors = embed([s.text for s in test])
    share = head.predict_proba(vectors)
    answers = [str(head.classes_[i]) for i in share.argmax(axis=1)]
    traffic = _traffic(test, answers, [float(p) for p in share.max(axis=1)])
    slices = {}
    for group, rows in groups.items():
        inside = np.array(rows, dtype=np.bool_)
        if inside.sum() < MIN_ROWS or inside.all():
            continue
        counts = int((inside & traffic.failed).sum()), int(inside.sum()), int(traffic.failed.sum()), len(test)
        if odds_ratio(*counts) >= ODDS_RATIO and enrichment_p(inside, traffic.failed) < P_VALUE:
            slices[group] = inside
    return SliceWorld(name, traffic, vectors, slices)


def checklist() -> SliceWorld:
    """Return sentence polarity traffic and CheckList's functionality tests; known slices are its capabilities."""
    films = load_dataset("sentence_polarity").samples
    tests = [s for s in load_dataset("checklist_sentiment").samples["mft"] if s.expected != "neutral"]
    test = [*shuffled(tests, 0, "checklist")[:2500], *films["test"]]
    names = sorted({s.domain for s in tests})
    groups = {name: [s.domain == name for s in test] for name in names}
    return _real("checklist capabilities", shuffled(films["train"], 0, "films")[:4000], test, groups)


def hatemoji() -> SliceWorld:
    """Return HatemojiCheck on a head trained on HatemojiBuild; known slices are its functionalities."""
    data = load_dataset("hatemoji").samples
    names = [row["functionality"] for row in load_rows("hatemoji", "check_test")]
    test = data["check_test"]
    assert len(names) == len(test)
    groups = {name: [n == name for n in names] for name in sorted(set(names))}
    return _real("hatemoji functionalities", data["build_train"][:2500], test, groups)


def multidogo() -> SliceWorld:
    """Return customer turns of six domains on a head that saw mostly finance; known slices are the domains."""
    data = load_dataset("multidogo").samples
    domains = sorted({name.rsplit("_", 1)[0] for name in data})
    train = [*shuffled(data["finance_train"], 0, "finance")[:2500]]
    for domain in domains:
        train += shuffled(data[f"{domain}_train"], 0, domain)[:100]
    test = [s for domain in domains for s in shuffled(data[f"{domain}_test"], 1, domain)[:500]]
    named = [domain for domain in domains for _ in shuffled(data[f"{domain}_test"], 1, domain)[:500]]
    groups = {domain: [n == domain for n in named] for domain in domains}
    return _real("multidogo domains", train, test, groups)


def hint3() -> SliceWorld:
    """Return live traffic of three bots, in scope; slices are the bots, typing errors and code-mixing, named here."""
    from spellchecker import SpellChecker

    spelling = SpellChecker(distance=1)
    data = load_dataset("hint3").samples
    brands = ("sofmattress", "curekart", "powerplay11")
    train = [s for brand in brands for s in data[f"{brand}_train"]]
    test, bots = [], []
    for brand in brands:
        rows = [s for s in data[f"{brand}_test"] if s.expected != "NO_NODES_DETECTED"]
        test += rows
        bots += [brand] * len(rows)
    known = {word for s in train for word in s.text.lower().split()}
    words = [[w.strip(".,?!()'\"") for w in s.text.lower().split()] for s in test]
    mixed = [bool(ROMAN_HINDI & set(row)) for row in words]
    typed = [
        not m and any(w.isalpha() and len(w) > 3 and w not in known and _misspelt(w, spelling) for w in row)
        for row, m in zip(words, mixed, strict=True)
    ]
    groups: dict[str, Sequence[bool]] = {brand: [b == brand for b in bots] for brand in brands}
    return _real("hint3 forms", train, test, {**groups, "typing errors": typed, "code-mixing": mixed})


def _misspelt(word: str, spelling: object) -> bool:
    found = spelling.unknown([word])  # type: ignore[attr-defined]
    return bool(found) and bool(spelling.candidates(word))  # type: ignore[attr-defined]


REAL: tuple[Callable[[], SliceWorld], ...] = (checklist, hint3, hatemoji, multidogo)
"""The real sets."""
