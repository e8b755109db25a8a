"""Signed notes and checkpoints: published examples, round trips, and every way to write one wrongly."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symbio_lab.errors import DataError, TrustError
from symbio_lab.trust.checkpoint import (
    MAX_NOTE_BYTES,
    Checkpoint,
    LogKey,
    checkpoint_text,
    open_checkpoint,
    open_note,
    sign_checkpoint,
    sign_note,
)
from symbio_lab.trust.keys import SigningKey

KEY = SigningKey.from_seed(bytes([1]) * 32)
OTHER = SigningKey.from_seed(bytes([2]) * 32)
NAME = "example.org/market"
LOG = LogKey(NAME, KEY.public_key)
STATE = Checkpoint(NAME, 42, bytes(range(32)))

# c2sp.org/signed-note and the documentation of golang.org/x/mod/sumdb/note.
C2SP_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERY"
    "NZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_NOTE = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n"
    "\u2014 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def refusal(note: bytes | str, key: LogKey = LOG, origin: str | None = None) -> str:
    with pytest.raises(TrustError) as refused:
        open_checkpoint(note.encode() if isinstance(note, str) else note, key, origin)
    assert refused.value.code == "bad_proof"
    return str(refused.value)


def signed(text: str) -> bytes:
    return sign_note(text, KEY, NAME)


@pytest.mark.parametrize(("key", "note"), [(C2SP_KEY, C2SP_NOTE), (GO_KEY, GO_NOTE)])
def test_published_notes_verify(key: str, note: str) -> None:
    parsed = LogKey.parse(key)
    assert parsed.text == key
    assert open_note(note.encode(), [parsed]) == note.partition("\n\n")[0] + "\n"
    with pytest.raises(TrustError):
        open_note(note.replace("problem", "example").replace("message", "massage").encode(), [parsed])


def test_the_published_checkpoint_is_parsed() -> None:
    # The example of c2sp.org/tlog-checkpoint; its key is not published, so only the text is compared.
    root = base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")
    text = checkpoint_text(Checkpoint("example.com/behind-the-sofa", 20852163, root))
    assert text == "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1 << 62), st.binary(min_size=32, max_size=32))
def test_round_trip(size: int, root: bytes) -> None:
    state = Checkpoint(NAME, size, root)
    assert open_checkpoint(sign_checkpoint(state, KEY), LogKey.parse(LOG.text)) == state


def test_signatures_of_others_are_ignored() -> None:
    note = sign_checkpoint(STATE, KEY)
    witness = sign_note(checkpoint_text(STATE), OTHER, "witness.example").rpartition(b"\n\n")[2]
    assert open_checkpoint(note + witness, LOG) == STATE
    head, _, own = note.rpartition(b"\n\n")
    assert open_checkpoint(head + b"\n\n" + witness + own, LOG) == STATE
    assert "no known key" in refusal(head + b"\n\n" + witness)


def test_another_key_under_the_same_name_is_another_key() -> None:
    assert "no known key" in refusal(sign_checkpoint(STATE, OTHER))


def test_a_false_signature_spoils_the_note() -> None:
    note = sign_checkpoint(STATE, KEY)
    text, _, line = note.decode().rpartition("\n\n")
    name, _, encoded = line.removeprefix("\u2014 ").rstrip("\n").rpartition(" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[-1] ^= 1
    false = f"\u2014 {name} {base64.b64encode(bytes(raw)).decode()}\n"
    assert "does not match" in refusal(f"{text}\n\n{false}")
    assert "does not match" in refusal(f"{text}\n\n{line}{false}")


def test_a_checkpoint_of_another_log_is_none() -> None:
    other = sign_note(checkpoint_text(Checkpoint("example.org/other", 42, bytes(32))), KEY, NAME)
    assert "is of the log 'example.org/other'" in refusal(other)
    assert open_checkpoint(other, LOG, "example.org/other").size == 42


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"{NAME}\n042\n{ROOT}\n",
        f"{NAME}\n+42\n{ROOT}\n",
        f"{NAME}\n-1\n{ROOT}\n",
        f"{NAME}\n4 2\n{ROOT}\n",
        f"{NAME}\n\u0664\u0662\n{ROOT}\n",
        f"{NAME}\n{1 << 63}\n{ROOT}\n",
        f"{NAME}\n42\n{ROOT}\nextension\n",
        f"{NAME}\n42\n",
        f"{NAME}\n42\n{ROOT[:-4]}\n",
        f"{NAME}\n42\n{ROOT.rstrip('=')}\n",
        f"{NAME}\n42\n{ROOT[:-2]}B=\n",
        f"\n42\n{ROOT}\n",
        f"{NAME}\n42\n{ROOT}\n\n",
    ],
)
def test_signed_but_not_a_checkpoint(text: str) -> None:
    refusal(signed(text))


@pytest.mark.parametrize(
    "change",
    [
        lambda note: note[:-1],
        lambda note: note + b"\n",
        lambda note: note.replace(b"\n\n", b"\n"),
        lambda note: note.replace("\u2014".encode(), b"-"),
        lambda note: note.replace(b"\n", b"\r\n"),
        lambda note: note + b"\xff",
        lambda note: note + "\u2014 x\n".encode(),
        lambda note: note + "\u2014 x !!!!\n".encode(),
        lambda note: note + "\u2014 x AAAA\n".encode(),
        lambda note: note + b"trailing\n",
        lambda note: note + "\u2014 witness.example AAAAAAA=\n".encode() * 40,
        lambda note: b"x" * MAX_NOTE_BYTES + note,
        lambda note: b"",
    ],
)
def test_not_a_note(change: object) -> None:
    refusal(change(sign_checkpoint(STATE, KEY)))  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    ["", "name", "name+00000000", f"{NAME}+00000000+{LOG.text.rpartition('+')[2]}", LOG.text + "A", f"a b{LOG.text}"],
)
def test_keys_written_wrongly(text: str) -> None:
    with pytest.raises(DataError):
        LogKey.parse(text)


def test_a_low_order_key_is_refused() -> None:
    raw = base64.b64encode(b"\x01" + bytes(32)).decode()
    with pytest.raises(TrustError) as refused:
        LogKey.parse(f"x+00000000+{raw}")
    assert refused.value.code == "bad_key"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u2003b", "a\nb", "x" * 201])
def test_names_of_keys(name: str) -> None:
    with pytest.raises(DataError):
        LogKey(name, KEY.public_key)


@pytest.mark.parametrize(
    "state",
    [
        Checkpoint("", 1, bytes(32)),
        Checkpoint("a\nb", 1, bytes(32)),
        Checkpoint("a", -1, bytes(32)),
        Checkpoint("a", 1, bytes(31)),
    ],
)
def test_states_that_cannot_be_signed(state: Checkpoint) -> None:
    with pytest.raises(DataError):
        sign_checkpoint(state, KEY, NAME)
