"""The loopback Hub as the unmodified client library sees it: each behaviour of the real one that the lab relies on."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from symbio_lab.testing.loopback_hub import HubLimits, LoopbackHub
from tests.fixtures_hub import TOKENS, open_client
from tests.fixtures_hub import hub as hub

REPO = "alice/travel"
CARD = b"---\nlicense: mit\nlibrary_name: peft\nbase_model: org/base\n"
CARD += b"pipeline_tag: text-classification\ntags:\n- patch\n---\n# Travel\n"
WEIGHTS = bytes(range(256)) * 64


def api_of(hub: LoopbackHub, user: str | None = "alice") -> HfApi:
    return HfApi(endpoint=hub.endpoint, token=TOKENS[user] if user else False)


def put(api: HfApi, files: dict[str, bytes], repo: str = REPO, **options: Any) -> Any:
    adds = [CommitOperationAdd(name, data) for name, data in files.items()]
    return api.create_commit(repo, adds, commit_message=options.pop("title", "change"), **options)


def read(hub: LoopbackHub, name: str, cache: Path, revision: str | None = None, user: str | None = "alice") -> bytes:
    token = TOKENS[user] if user else False
    path = hf_hub_download(REPO, name, revision=revision, cache_dir=cache, endpoint=hub.endpoint, token=token)
    return Path(path).read_bytes()


def refused(call: Callable[..., object], *arguments: Any, **options: Any) -> int:
    """Return the status with which the Hub refuses a call."""
    with pytest.raises(HfHubHTTPError) as caught:
        call(*arguments, **options)
    return int(caught.value.response.status_code)


@pytest.fixture
def api(hub: LoopbackHub) -> HfApi:
    """Alice's client; her repository has a card and weights."""
    api = api_of(hub)
    api.create_repo(REPO)
    put(api, {"README.md": CARD, "adapter_model.safetensors": WEIGHTS, "sub/one.json": b"{}"}, title="first")
    return api


# ------------------------------------------------------------------------------------------- who may do what


def test_a_token_names_a_user_with_organisations(hub: LoopbackHub) -> None:
    me = api_of(hub).whoami()
    assert (me["name"], [org["name"] for org in me["orgs"]]) == ("alice", ["lab"])
    assert refused(HfApi(endpoint=hub.endpoint, token="hf_unknown").whoami) == 401
    assert api_of(hub, None).get_user_overview("alice").num_models == 0
    assert refused(api_of(hub).get_user_overview, "nobody") == 404


def test_everybody_writes_to_own_namespaces_only(hub: LoopbackHub) -> None:
    alice, bob = api_of(hub), api_of(hub, "bob")
    assert alice.create_repo("lab/shared").repo_id == "lab/shared"
    for call in (bob.create_repo, bob.delete_repo):
        assert refused(call, "lab/shared" if call == bob.delete_repo else "alice/new") == 403
    assert refused(put, bob, {"x": b"1"}, "lab/shared") == 403
    assert refused(bob.create_tag, "lab/shared", tag="v1") == 403
    assert refused(bob.update_repo_settings, "lab/shared", private=True) == 403
    assert refused(put, api_of(hub, None), {"x": b"1"}, "lab/shared") == 401
    assert [commit.title for commit in alice.list_repo_commits("lab/shared")] == ["initial commit"]


def test_private_repositories_do_not_exist_for_others(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    api.update_repo_settings(REPO, private=True)
    for user in ("bob", None):
        other = api_of(hub, user)
        with pytest.raises(RepositoryNotFoundError):
            other.model_info(REPO)
        with pytest.raises(RepositoryNotFoundError):
            other.list_repo_files(REPO)
        assert list(other.list_models()) == []
        with pytest.raises(RepositoryNotFoundError):
            read(hub, "README.md", tmp_path, user=user)
    assert api.model_info(REPO).private is True
    assert read(hub, "README.md", tmp_path) == CARD


def test_gated_files_are_for_those_who_were_let_in(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    api.update_repo_settings(REPO, gated="manual")
    bob = api_of(hub, "bob")
    assert bob.model_info(REPO).gated == "manual"
    with pytest.raises(GatedRepoError):
        bob.auth_check(REPO)
    with pytest.raises(GatedRepoError):
        read(hub, "README.md", tmp_path, user="bob")
    api.grant_access(REPO, "bob")
    bob.auth_check(REPO)
    assert read(hub, "README.md", tmp_path, user="bob") == CARD
    assert refused(bob.auth_check, REPO, write=True) == 403


# ------------------------------------------------------------------------------------------- repositories


def test_a_name_that_is_taken_is_said_with_its_address(hub: LoopbackHub, api: HfApi) -> None:
    assert api.create_repo(REPO, exist_ok=True) == f"{hub.endpoint}/{REPO}"
    assert refused(api.create_repo, REPO) == 409
    assert refused(api.create_repo, "alice/TRAVEL") == 409


def test_a_deleted_name_is_free_for_another_user_of_that_namespace(hub: LoopbackHub, api: HfApi) -> None:
    before = api.model_info(REPO).sha
    api.delete_repo(REPO)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(REPO)
    hub.accounts.remove("alice")
    assert refused(api.whoami) == 401
    hub.accounts.add("alice", "hf_mallory")
    mallory = HfApi(endpoint=hub.endpoint, token="hf_mallory")
    mallory.create_repo(REPO)
    assert mallory.model_info(REPO).sha != before
    with pytest.raises(RevisionNotFoundError):  # nothing of the old one is left under the new one
        mallory.model_info(REPO, revision=before)


def test_a_renamed_repository_is_found_under_both_names(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    api.move_repo(REPO, "lab/journeys")
    assert (
        api.model_info(REPO, files_metadata=True).siblings
        == api.model_info("lab/journeys", files_metadata=True).siblings
    )
    assert read(hub, "README.md", tmp_path) == CARD
    api.create_repo(REPO)
    assert api.model_info(REPO).id == REPO
    assert refused(api_of(hub, "bob").move_repo, "lab/journeys", "bob/mine") == 403


def test_data_sets_are_kept_beside_models(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(REPO, repo_type="dataset")
    put(api, {"data.parquet": WEIGHTS, "README.md": b"# rows"}, repo_type="dataset")
    assert [found.id for found in api.list_datasets(author="alice")] == [REPO]
    path = hf_hub_download(
        REPO, "data.parquet", repo_type="dataset", cache_dir=tmp_path, endpoint=hub.endpoint, token=False
    )
    assert Path(path).read_bytes() == WEIGHTS
    assert api.list_repo_files(REPO) == [".gitattributes", "README.md", "adapter_model.safetensors", "sub/one.json"]


# ------------------------------------------------------------------------------------------- commits and files


def test_files_come_back_as_they_were_committed(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    info = api.model_info(REPO, files_metadata=True, securityStatus=True)
    files = {file.rfilename: file for file in info.siblings or ()}
    large = files["adapter_model.safetensors"]
    assert large.lfs is not None
    assert (large.lfs.sha256, large.lfs.size) == (hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS))
    assert files["README.md"].blob_id == hashlib.sha1(b"blob %d\0" % len(CARD) + CARD).hexdigest()
    assert info.security_repo_status == {"scansDone": True, "filesWithIssues": []}
    for name, data in (("adapter_model.safetensors", WEIGHTS), ("sub/one.json", b"{}"), ("README.md", CARD)):
        assert read(hub, name, tmp_path) == data
    folder = snapshot_download(REPO, cache_dir=tmp_path / "all", endpoint=hub.endpoint, token=False, max_workers=1)
    assert (Path(folder) / "sub/one.json").read_bytes() == b"{}"
    assert Path(folder).name == info.sha
    assert not api.verify_repo_checksums(REPO, local_dir=folder).mismatches


def test_large_files_may_come_from_another_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_client(monkeypatch, tmp_path)
    with LoopbackHub(tmp_path / "hub", users=TOKENS, own_origin_for_content=True) as hub:
        api = api_of(hub)
        api.create_repo(REPO, private=True)
        put(api, {"adapter_model.safetensors": WEIGHTS})
        assert read(hub, "adapter_model.safetensors", tmp_path / "cache") == WEIGHTS
        assert [status for method, path, status in hub.requests if "/resolve/" in path] == [302]
        assert [(method, status) for method, path, status in hub.requests if "/_lfs/get/" in path] == [("GET", 200)]


def test_large_files_go_up_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_client(monkeypatch, tmp_path)
    with LoopbackHub(tmp_path / "hub", users=TOKENS, limits=HubLimits(part_bytes=5000)) as hub:
        api = api_of(hub)
        api.create_repo(REPO)
        put(api, {"adapter_model.safetensors": WEIGHTS})
        assert read(hub, "adapter_model.safetensors", tmp_path / "cache") == WEIGHTS
        assert sum("/_lfs/part/" in path for _, path, _ in hub.requests) == 4
        assert not list((tmp_path / "hub" / "incoming").iterdir())


def test_a_large_file_that_is_there_is_not_sent_again(hub: LoopbackHub, api: HfApi) -> None:
    hub.requests.clear()
    put(api, {"copy.safetensors": WEIGHTS})
    assert not [path for method, path, _ in hub.requests if method == "PUT"]
    api.create_repo("lab/other")
    put(api, {"adapter_model.safetensors": WEIGHTS}, "lab/other")
    assert [path for method, path, _ in hub.requests if method == "PUT"]  # another repository proves that it has it


def test_a_commit_adds_changes_and_deletes_at_once(api: HfApi) -> None:
    operations = [
        CommitOperationAdd("sub/two.json", b"[]"),
        CommitOperationDelete("sub/one.json"),
        CommitOperationDelete("README.md"),
    ]
    api.create_commit(REPO, operations, commit_message="second", commit_description="why")
    assert api.list_repo_files(REPO) == [".gitattributes", "adapter_model.safetensors", "sub/two.json"]
    api.delete_folder("sub", REPO)
    assert api.list_repo_files(REPO) == [".gitattributes", "adapter_model.safetensors"]
    history = api.list_repo_commits(REPO)
    assert [commit.title for commit in history][1:] == ["second", "first", "initial commit"]
    assert (history[1].message, history[1].authors) == ("why", ["alice"])
    assert refused(api.delete_file, "README.md", REPO) == 404


def test_a_folder_goes_up_and_what_is_unchanged_is_not_sent_again(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    (tmp_path / "up" / "sub").mkdir(parents=True)
    (tmp_path / "up" / "README.md").write_bytes(CARD)
    (tmp_path / "up" / "sub" / "w.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "up" / "empty.json").write_bytes(b"")
    first = api.upload_folder(repo_id=REPO, folder_path=tmp_path / "up", delete_patterns=["sub/*.json"])
    assert api.list_repo_files(REPO) == sorted(
        [".gitattributes", "README.md", "adapter_model.safetensors", "empty.json", "sub/w.safetensors"]
    )
    assert read(hub, "sub/w.safetensors", tmp_path / "cache") == WEIGHTS
    assert read(hub, "empty.json", tmp_path / "cache") == b""
    assert api.upload_folder(repo_id=REPO, folder_path=tmp_path / "up").oid == first.oid
    assert len(api.list_repo_commits(REPO)) == 3


def test_of_two_commits_on_one_parent_exactly_one_wins(hub: LoopbackHub, api: HfApi) -> None:
    parent, start, outcomes = api.model_info(REPO).sha, threading.Barrier(6), []

    def write(number: int) -> None:
        start.wait()
        try:
            put(api_of(hub), {"who": str(number).encode()}, parent_commit=parent, title=f"by {number}")
            outcomes.append(number)
        except HfHubHTTPError as error:
            outcomes.append(-error.response.status_code)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[:5] == [-412] * 5
    (winner,) = (outcome for outcome in outcomes if outcome >= 0)
    history = api.list_repo_commits(REPO)
    assert [commit.title for commit in history] == [f"by {winner}", "first", "initial commit"]


def test_branches_tags_and_every_commit_are_revisions(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    first = api.model_info(REPO).sha
    api.create_tag(REPO, tag="v1", revision=first, tag_message="one")
    api.create_branch(REPO, branch="try/this", revision=first)
    second = put(api, {"README.md": b"# two"}, revision="try/this").oid
    third = put(api, {"README.md": b"# three"}).oid
    assert refused(api.create_tag, REPO, tag="v1") == 409
    expected = {"v1": CARD, first: CARD, "try/this": b"# two", second: b"# two", "main": b"# three", third: b"# three"}
    for revision, data in expected.items():
        assert read(hub, "README.md", tmp_path, revision) == data
    refs = api.list_repo_refs(REPO)
    assert {branch.name: branch.target_commit for branch in refs.branches} == {"main": third, "try/this": second}
    assert [(tag.name, tag.ref, tag.target_commit) for tag in refs.tags] == [("v1", "refs/tags/v1", first)]
    api.delete_tag(REPO, tag="v1")
    api.delete_branch(REPO, branch="try/this")
    for revision in ("v1", "try/this", "f" * 40):
        with pytest.raises(RevisionNotFoundError):
            api.model_info(REPO, revision=revision)
    assert refused(api.delete_branch, REPO, branch="main") == 403
    assert api.model_info(REPO, revision=second).sha == second  # its commits stay


def test_a_missing_file_is_named_with_the_commit(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    with pytest.raises(EntryNotFoundError) as caught:
        read(hub, "nothing.json", tmp_path)
    assert caught.value.response is not None
    assert caught.value.response.headers["X-Repo-Commit"] == api.model_info(REPO).sha


# ------------------------------------------------------------------------------------------- listings


def test_models_are_found_by_what_their_cards_say(hub: LoopbackHub, api: HfApi) -> None:
    api.create_repo("lab/plain")
    bob = api_of(hub, "bob")
    bob.create_repo("bob/travel-too")
    put(bob, {"README.md": b"---\ntags: [patch]\nlicense: gpl-3.0\n---\n"}, "bob/travel-too")

    def found(**asked: Any) -> list[str]:
        return [model.id for model in api.list_models(**asked)]

    assert found() == [REPO, "bob/travel-too", "lab/plain"]
    assert found(filter=["patch"]) == [REPO, "bob/travel-too"]
    assert found(filter=["patch", "license:mit"]) == [REPO]
    assert found(filter=["base_model:adapter:org/base", "peft", "safetensors"]) == [REPO]
    assert found(author="lab") == ["lab/plain"]
    assert found(search="TRAVEL") == [REPO, "bob/travel-too"]
    assert found(pipeline_tag="text-classification") == [REPO]
    assert found(sort="last_modified", limit=1) == ["bob/travel-too"]
    assert found(sort="created_at") == ["bob/travel-too", "lab/plain", REPO]
    (full,) = api.list_models(author="alice", full=True, cardData=True)
    assert (full.sha, full.card_data and full.card_data.license) == (api.model_info(REPO).sha, "mit")
    assert [file.rfilename for file in full.siblings or ()] == api.list_repo_files(REPO)
    (brief,) = api.list_models(author="alice", expand=["sha"])
    assert (brief.sha, brief.tags) == (full.sha, None)


def test_lists_come_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_client(monkeypatch, tmp_path)
    limits = HubLimits(page=2, expanded_page=1)
    with LoopbackHub(tmp_path / "hub", users=TOKENS, limits=limits) as hub:
        api = api_of(hub)
        for number in range(5):
            api.create_repo(f"alice/m{number}")
        names = [f"alice/m{number}" for number in range(5)]
        assert [model.id for model in api.list_models(author="alice", filter="region:us")] == names
        assert sum(path == "/api/models" for _, path, _ in hub.requests) == 3
        assert [model.id for model in api.list_models(limit=3)] == names[:3]
        put(api, {f"f{number}": b"x" for number in range(6)}, "alice/m0")
        assert len(list(api.list_repo_tree("alice/m0"))) == 7
        assert len(list(api.list_repo_tree("alice/m0", expand=True))) == 7
        for number in range(4):
            put(api, {"f0": str(number).encode()}, "alice/m0")
        assert len(api.list_repo_commits("alice/m0")) == 6


def test_a_tree_has_folders_and_says_who_changed_them_last(api: HfApi) -> None:
    second = put(api, {"sub/deep/two.json": b"[]"}, title="second").oid
    top = {entry.path: entry for entry in api.list_repo_tree(REPO, expand=True)}
    assert sorted(top) == [".gitattributes", "README.md", "adapter_model.safetensors", "sub"]
    assert (top["sub"].last_commit.oid, top["README.md"].last_commit.title) == (second, "first")
    below = [entry.path for entry in api.list_repo_tree(REPO, "sub", recursive=True)]
    assert below == ["sub/deep", "sub/deep/two.json", "sub/one.json"]
    known = api.get_paths_info(REPO, ["sub", "README.md", "nothing"], expand=True)
    assert [(entry.path, entry.last_commit.title) for entry in known] == [("sub", "second"), ("README.md", "first")]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(REPO, "nothing"))


def test_a_card_that_is_no_card_harms_nobody(hub: LoopbackHub, api: HfApi) -> None:
    doubling = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in pairwise("abcdefghi"))
    bomb = f"---\na: &a [x, x, x, x, x, x, x, x, x]\n{doubling}---\n".encode()
    for readme in (bomb, b"---\n- list\n---\n", b"---\n: :\n - {\n---\n", b"---\na: &a [*a]\n---\n", b"\xff\xfe"):
        hub.tamper(REPO, "README.md", readme)
        (model,) = api.list_models(cardData=True)
        assert (model.card_data, model.tags) == (None, ["safetensors", "region:us"])
    hub.tamper(REPO, "README.md", b"---\nlicense: 2020-01-01\ntags: [1, a, [b]]\nx: .nan\n---\n")
    (model,) = api.list_models(cardData=True)
    assert model.tags == ["safetensors", "a", "license:2020-01-01", "region:us"]
    with pytest.raises(ValueError, match="too many values"):
        put(api, {"README.md": bomb})  # the client has the card checked before it commits


# ------------------------------------------------------------------------------------------- discussions


def test_a_pull_request_from_somebody_without_the_right(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    bob = api_of(hub, "bob")
    made = put(bob, {"evaluations/one.json": b"{}"}, create_pr=True, title="an evaluation")
    assert (made.pr_num, made.pr_revision) == (1, "refs/pr/1")
    assert made.pr_url == f"{hub.endpoint}/{REPO}/discussions/1"
    for revision in ("refs/pr/1", made.oid):
        assert read(hub, "evaluations/one.json", tmp_path, revision, user=None) == b"{}"
        assert api.model_info(REPO, revision=revision).sha == made.oid
    assert "evaluations/one.json" not in api.list_repo_files(REPO)
    more = put(bob, {"evaluations/two.json": b"{}"}, revision="refs/pr/1", title="more")
    assert api.list_repo_refs(REPO, include_pull_requests=True).pull_requests[0].target_commit == more.oid
    assert refused(bob.merge_pull_request, REPO, 1) == 403
    details = api.get_discussion_details(REPO, 1)
    assert (details.status, details.author, details.is_pull_request, details.conflicting_files) == (
        "open",
        "bob",
        True,
        [],
    )
    assert [event.type for event in details.events] == ["comment", "commit", "commit"]
    api.merge_pull_request(REPO, 1)
    assert {"evaluations/one.json", "evaluations/two.json"} <= set(api.list_repo_files(REPO))
    merged = api.get_discussion_details(REPO, 1)
    assert (merged.status, merged.merge_commit_oid) == ("merged", api.model_info(REPO).sha)
    assert refused(put, bob, {"x": b"1"}, revision="refs/pr/1") == 403


def test_a_conflict_is_not_merged(hub: LoopbackHub, api: HfApi) -> None:
    put(api_of(hub, "bob"), {"README.md": b"# his"}, create_pr=True)
    put(api, {"README.md": b"# hers"})
    assert api.get_discussion_details(REPO, 1).conflicting_files == ["README.md"]
    assert refused(api.merge_pull_request, REPO, 1) == 409
    api.change_discussion_status(REPO, 1, "closed", comment="no")
    assert api.get_discussion_details(REPO, 1).status == "closed"


def test_discussions_are_opened_commented_and_closed(hub: LoopbackHub, api: HfApi) -> None:
    bob = api_of(hub, "bob")
    opened = bob.create_discussion(REPO, "Does it work?", description="On my data")
    bob.comment_discussion(REPO, opened.num, "It does")
    bob.rename_discussion(REPO, opened.num, "It works")
    draft = bob.create_pull_request(REPO, "A change")
    assert (draft.num, draft.status) == (2, "draft")
    found = list(api.get_repo_discussions(REPO))
    assert [(d.num, d.title, d.is_pull_request) for d in found] == [(2, "A change", True), (1, "It works", False)]
    assert [d.num for d in api.get_repo_discussions(REPO, discussion_type="pull_request")] == [2]
    assert [d.num for d in api.get_repo_discussions(REPO, author="alice")] == []
    details = api.get_discussion_details(REPO, 1)
    assert [event.content for event in details.events if event.type == "comment"] == ["On my data", "It does"]
    assert refused(api_of(hub, None).comment_discussion, REPO, 1, "x") == 401
    api.change_discussion_status(REPO, 1, "closed")
    assert [d.num for d in api.get_repo_discussions(REPO, discussion_status="closed")] == [1]
    assert refused(api.get_discussion_details, REPO, 3) == 404


# ------------------------------------------------------------------------------------------- collections


def test_collections_are_made_filled_and_hidden(hub: LoopbackHub, api: HfApi) -> None:
    bob = api_of(hub, "bob")
    made = api.create_collection("Best of travel", namespace="lab", description="what works")
    assert made.slug.startswith("lab/best-of-travel-")
    assert api.create_collection("Best of travel", namespace="lab", exists_ok=True).slug == made.slug
    assert refused(bob.create_collection, "Mine", namespace="lab") == 403
    filled = api.add_collection_item(made.slug, REPO, "model", note="the first")
    assert [(item.item_id, item.item_type, item.note) for item in filled.items] == [(REPO, "model", "the first")]
    assert len(api.add_collection_item(made.slug, REPO, "model", exists_ok=True).items) == 1
    assert refused(api.add_collection_item, made.slug, "alice/nothing", "model") == 404
    assert refused(bob.add_collection_item, made.slug, REPO, "model") == 403
    api.add_collection_item(made.slug, "2301.00001", "paper")
    api.update_collection_item(made.slug, filled.items[0].item_object_id, note="the best", position=1)
    items = bob.get_collection(made.slug).items
    assert [(item.item_id, item.note) for item in items] == [("2301.00001", None), (REPO, "the best")]
    assert [c.slug for c in bob.list_collections(owner="lab")] == [made.slug]
    assert [c.slug for c in bob.list_collections(item=f"models/{REPO}")] == [made.slug]
    assert list(bob.list_collections(owner="alice")) == []

    api.update_repo_settings(REPO, private=True)
    assert [item.item_id for item in bob.get_collection(made.slug).items] == ["2301.00001"]
    api.update_collection_metadata(made.slug, title="Hidden", private=True)
    assert refused(bob.get_collection, made.slug) == 404
    renamed = api.get_collection(made.slug)  # the words of a slug may change, its end does not
    assert (renamed.title, renamed.slug[-24:]) == ("Hidden", made.slug[-24:])
    api.delete_collection_item(made.slug, filled.items[0].item_object_id)
    assert [item.item_id for item in api.get_collection(made.slug).items] == ["2301.00001"]
    api.delete_collection(made.slug)
    assert refused(api.get_collection, made.slug) == 404


# ------------------------------------------------------------------------------------------- a bad server, a restart


def test_a_server_that_goes_back_or_changes_bytes(hub: LoopbackHub, api: HfApi, tmp_path: Path) -> None:
    first = str(api.model_info(REPO).sha)
    second = put(api, {"README.md": b"# two"}).oid
    hub.set_branch(REPO, "main", first)
    assert api.model_info(REPO).sha == first
    assert [commit.title for commit in api.list_repo_commits(REPO)] == ["first", "initial commit"]
    assert api.model_info(REPO, revision=second).sha == second
    third = hub.tamper(REPO, "adapter_model.safetensors", b"other")
    assert (api.model_info(REPO).sha, api.list_repo_commits(REPO)[0].title) == (third, "tampered")
    assert read(hub, "adapter_model.safetensors", tmp_path) == b"other"
    assert read(hub, "adapter_model.safetensors", tmp_path, first) == WEIGHTS
    assert hub.tamper(REPO, "adapter_model.safetensors", b"under its old name", rewrite=True) == third
    assert read(hub, "adapter_model.safetensors", tmp_path / "new", third) == b"under its old name"
    hub.tamper(REPO, "README.md", None)
    assert "README.md" not in api.list_repo_files(REPO)


def test_everything_is_there_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_client(monkeypatch, tmp_path)

    def told(hub: LoopbackHub, slug: str) -> str:
        api = api_of(hub)
        info = api.model_info(REPO, files_metadata=True)
        facts = [info.sha, info.gated, info.tags, [vars(file) for file in info.siblings or ()]]
        facts += [[commit.commit_id for commit in api.list_repo_commits(REPO)]]
        facts += [vars(ref) for ref in api.list_repo_refs(REPO).tags]
        facts += [[event.id for event in api.get_discussion_details(REPO, 1).events]]
        facts += [[item.item_id for item in api.get_collection(slug).items]]
        return json.dumps(facts)

    with LoopbackHub(tmp_path / "hub", users=TOKENS) as hub:
        api = api_of(hub)
        api.create_repo(REPO)
        put(api, {"README.md": CARD, "adapter_model.safetensors": WEIGHTS})
        put(api_of(hub, "bob"), {"x.json": b"{}"}, create_pr=True)
        api.create_tag(REPO, tag="v1")
        api.update_repo_settings(REPO, gated="auto")
        slug = api.add_collection_item(api.create_collection("Best").slug, REPO, "model").slug
        api.create_repo("alice/gone")
        api.delete_repo("alice/gone")
        before = told(hub, slug)
    (tmp_path / "hub" / "incoming").mkdir(exist_ok=True)
    (tmp_path / "hub" / "incoming" / "half").write_bytes(b"what a kill left")
    with LoopbackHub(tmp_path / "hub", users=TOKENS) as hub:
        assert told(hub, slug) == before
        assert [model.id for model in api_of(hub).list_models()] == [REPO]
        assert read(hub, "adapter_model.safetensors", tmp_path / "cache") == WEIGHTS
        put(api_of(hub), {"y": b"1"}, parent_commit=api_of(hub).model_info(REPO).sha)
        assert not (tmp_path / "hub" / "incoming" / "half").exists()
