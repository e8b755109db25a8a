"""Only what a card states plainly is a licence."""

from __future__ import annotations

from pathlib import Path

import pytest

from symbio_lab.errors import ModelUnresolvedError
from symbio_lab.models.model_card import card_licence


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# Model\n", "apache-2.0"),
        ("---\nlicense: other\nlicense_name: ours\n---\n", None),
        ("---\nlicense: [mit, gpl-3.0]\n---\n", None),
        ("---\nlicense: ''\n---\n", None),
        ("---\nlicense: {a: [\n---\n", None),
        ("---\nlicense: !!python/object/apply:os.getcwd []\n---\n", None),
        (f"---\nlicense: {'m' * 300}\n---\n", None),
        ("# Model\nlicense: mit\n", None),
        ("", None),
    ],
)
def test_the_head_of_a_card_is_read(card: str, licence: str | None, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(card)
    assert card_licence(tmp_path) == licence


def test_no_card_states_nothing_and_bytes_are_no_card(tmp_path: Path) -> None:
    assert card_licence(tmp_path) is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert card_licence(tmp_path) is None


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelUnresolvedError):
        card_licence(tmp_path / "nowhere")
