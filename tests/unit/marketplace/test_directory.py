"""A folder as a market: whole or absent, never changed, nothing but what was published."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from symbio_lab.errors import ConfigError, DataError, NotFoundError, StorageError, TrustError
from symbio_lab.marketplace.directory import DirectoryTransport
from symbio_lab.marketplace.opening import open_transport
from symbio_lab.marketplace.overlay import OverlayTransport
from symbio_lab.marketplace.snapshot import snapshot_digest
from symbio_lab.marketplace.transport import Transport
from symbio_lab.trust.envelope import ENVELOPE_NAME
from tests.attacks.market_simulator import MALLORY, Market, deltas, seal


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.iterdir()}


@pytest.fixture(params=["directory", "overlay", "overlay over a full base"])
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Transport:
    base = DirectoryTransport(tmp_path / "base")
    if request.param == "directory":
        return base
    if "full" in request.param:
        patch = seal(tmp_path / "s", patch_id="base/p")
        base.publish(patch.root, "base/p")
    return OverlayTransport(base, tmp_path / "own")


def own_refs(transport: Transport) -> list[str]:
    return [ref for ref in transport.list_refs() if ref != "base/p"]


def test_every_transport_is_one(transport: Transport) -> None:
    assert isinstance(transport, Transport)


def test_publish_list_read_fetch(transport: Transport, tmp_path: Path) -> None:
    patch = seal(tmp_path / "s")
    assert own_refs(transport) == []
    transport.publish(patch.root, patch.patch_id)
    assert own_refs(transport) == ["alice/travel"]
    assert transport.read_manifest("alice/travel") == (patch.root / ENVELOPE_NAME).read_bytes()
    into = tmp_path / "into"
    assert transport.fetch("alice/travel@1", into) == into
    assert contents(into) == contents(patch.root)


def test_the_newest_version_is_the_one_without_a_number(transport: Transport, tmp_path: Path) -> None:
    patches = {v: seal(tmp_path / "s", version=v, deltas=deltas(v)) for v in (2, 10, 9)}
    for patch in patches.values():
        transport.publish(patch.root, patch.patch_id)
    assert transport.read_manifest("alice/travel") == (patches[10].root / ENVELOPE_NAME).read_bytes()
    assert transport.read_manifest("alice/travel@9") == (patches[9].root / ENVELOPE_NAME).read_bytes()
    assert own_refs(transport) == ["alice/travel"]


def test_a_version_never_changes(transport: Transport, tmp_path: Path) -> None:
    patch = seal(tmp_path / "s")
    transport.publish(patch.root, "alice/travel@1")
    before = snapshot_digest(transport)
    transport.publish(patch.root, "alice/travel@1")  # the same bytes again: nothing to do
    other = seal(tmp_path / "s", deltas=deltas(1))
    with pytest.raises(DataError, match="other bytes") as refused:
        transport.publish(other.root, "alice/travel")
    assert refused.value.hint == "publish a new version"
    assert snapshot_digest(transport) == before


def test_unknown_references(transport: Transport, tmp_path: Path) -> None:
    for ref in ("alice/none", "alice/none@2"):
        with pytest.raises(NotFoundError):
            transport.read_manifest(ref)
        with pytest.raises(NotFoundError):
            transport.fetch(ref, tmp_path / "into")


def test_the_name_must_be_the_one_signed(transport: Transport, tmp_path: Path) -> None:
    patch = seal(tmp_path / "s")
    for ref in ("alice/other", "alice/travel@2"):
        with pytest.raises(TrustError) as refused:
            transport.publish(patch.root, ref)
        assert refused.value.code == "wrong_patch"
    assert own_refs(transport) == []


def test_fetch_stops_at_the_cap(transport: Transport, tmp_path: Path) -> None:
    patch = seal(tmp_path / "s")
    transport.publish(patch.root, patch.patch_id)
    with pytest.raises(TrustError) as refused:
        transport.fetch("alice/travel", tmp_path / "into", max_bytes=100)
    assert refused.value.code == "too_large"


def test_evaluations(transport: Transport) -> None:
    digest = "d" * 64
    assert transport.read_evaluations(digest) == []
    for data in (b"two", b"one", b"two"):
        transport.publish_evaluation(digest, data)
    assert sorted(transport.read_evaluations(digest)) == [b"one", b"two"]
    assert transport.read_evaluations("../x") == []
    with pytest.raises(DataError):
        transport.publish_evaluation("../x", b"")
    with pytest.raises(DataError):
        transport.publish_evaluation(digest, b"x" * 70_000)


def test_an_overlay_writes_only_to_its_own_folder(tmp_path: Path) -> None:
    base = DirectoryTransport(tmp_path / "base")
    base.publish(seal(tmp_path / "s").root, "alice/travel")
    named = snapshot_digest(base)
    overlay = OverlayTransport(base, tmp_path / "own")
    assert snapshot_digest(overlay) == named
    newer = seal(tmp_path / "s", version=2)
    overlay.publish(newer.root, "alice/travel")
    overlay.publish_evaluation(newer.digest, b"x")
    assert snapshot_digest(base) == named != snapshot_digest(overlay)
    assert overlay.read_manifest("alice/travel") == (newer.root / ENVELOPE_NAME).read_bytes()
    assert overlay.list_refs() == ["alice/travel"]
    # The base moves on: the newest of both counts.
    newest = seal(tmp_path / "s", version=3)
    base.publish(newest.root, "alice/travel")
    assert overlay.read_manifest("alice/travel") == (newest.root / ENVELOPE_NAME).read_bytes()


def test_snapshots_name_the_content_not_the_place(tmp_path: Path) -> None:
    one, two = Market(tmp_path / "a"), Market(tmp_path / "b")
    one.publish()
    one.publish(patch_id="bob/x", key=MALLORY)
    two.publish(patch_id="bob/x", key=MALLORY)
    assert snapshot_digest(one.transport) != snapshot_digest(two.transport)
    two.publish()
    assert snapshot_digest(one.transport) == snapshot_digest(two.transport)
    (two.folder("bob/x") / ENVELOPE_NAME).write_bytes(b"broken")
    assert snapshot_digest(one.transport) != snapshot_digest(two.transport)
    (two.folder("bob/x") / ENVELOPE_NAME).unlink()
    assert snapshot_digest(one.transport) != snapshot_digest(two.transport)


KILLED = """
import os, sys
from pathlib import Path
from symbio_lab.marketplace.directory import DirectoryTransport
os.replace = lambda *_: os._exit(9)
DirectoryTransport(Path(sys.argv[1])).publish(Path(sys.argv[2]), "alice/travel")
"""


def test_a_kill_before_the_rename_leaves_nothing_listed(tmp_path: Path) -> None:
    patch = seal(tmp_path / "s")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "market"), str(patch.root)], env=environment, check=False
    )
    assert done.returncode == 9
    transport = DirectoryTransport(tmp_path / "market")
    assert list((tmp_path / "market").rglob("adapter_model.safetensors"))  # the half-way state really is there
    assert transport.list_refs() == []
    assert transport.list_versions("alice/travel") == []
    with pytest.raises(NotFoundError):
        transport.read_manifest("alice/travel")
    transport.publish(patch.root, "alice/travel")
    assert transport.list_refs() == ["alice/travel"]


def _publish(job: tuple[Path, Path, str]) -> str:
    market, root, ref = job
    try:
        DirectoryTransport(market).publish(root, ref)
    except DataError:
        return "told"
    return "published"


def test_concurrent_publishers(tmp_path: Path) -> None:
    market = tmp_path / "market"
    jobs = [(market, seal(tmp_path / "s", patch_id=f"alice/p{i}").root, f"alice/p{i}") for i in range(6)]
    rivals = [(market, seal(tmp_path / "s", deltas=deltas(i)).root, "alice/travel") for i in range(4)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        said = pool.map(_publish, [*jobs, *rivals], chunksize=1)
    assert said[:6] == ["published"] * 6
    assert sorted(said[6:]) == ["published", "told", "told", "told"]
    assert len(DirectoryTransport(market).list_refs()) == 7
    held = contents(market / "patches" / "alice" / "travel" / "v1")
    assert held in [contents(root) for _, root, _ in rivals]
    assert not list(market.rglob("*.tmp"))


def test_a_file_where_the_market_should_be(tmp_path: Path) -> None:
    (tmp_path / "market").write_text("not a folder")
    transport = DirectoryTransport(tmp_path / "market")
    assert transport.list_refs() == []
    with pytest.raises(StorageError):
        transport.publish(seal(tmp_path / "s").root, "alice/travel")


def test_addresses(tmp_path: Path) -> None:
    for uri in (f"file://{tmp_path.as_posix()}", f"file:{tmp_path.as_posix()}", str(tmp_path)):
        found = open_transport(uri)
        assert isinstance(found, DirectoryTransport)
        assert found.path == tmp_path
    assert open_transport("C:\\market").uri.startswith("file://")
    assert open_transport("file:///a%20b").uri == "file:///a b"


@pytest.mark.parametrize("uri", ["", " ", "https://example.com/m", "hf://a/b/c/d", "s3:bucket", "file://"])
def test_unsupported_addresses(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"not supported|no address"):
        open_transport(uri)
