"""Upload of an exported data set to the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from symbio_lab.errors import NetworkUnavailableError


def push_dataset(folder: Path, repo: str, *, api: Any = None) -> str:
    """Upload an exported data set to the Hub and return its address.

    Args:
        folder: from ``export_dataset``.
        repo: ``owner/name``.
        api: a ``huggingface_hub.HfApi``; None makes one, with the token of this machine.

    Raises:
        NetworkUnavailableError: the Hub cannot be reached, or refuses the token.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    api = api or HfApi()
    try:
        api.create_repo(repo, repo_type="dataset", exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            repo_type="dataset",
            folder_path=str(folder),
            allow_patterns=["README.md", "results.parquet"],
            commit_message="Results of a sweep",
        )
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        hint = "log in with hf auth login, and check HF_HUB_OFFLINE"
        raise NetworkUnavailableError(f"cannot push to {repo}: {first}", hint=hint) from error
    return str(getattr(done, "repo_url", None) or f"https://huggingface.co/datasets/{repo}")
