"""What python-tuf reports, as the stable codes of this project.

| what happened | code |
|---|---|
| metadata expired | ``stale`` |
| an older timestamp, root or snapshot than one seen before | ``rollback`` |
| snapshot, targets or files that the metadata above them does not name | ``mix_and_match`` |
| no valid signature of the role's keys | ``bad_signature``; some, but too few: ``threshold`` |
| not TUF metadata, or longer than any metadata may be | ``bad_response`` |
"""

from __future__ import annotations

import re

from symbio_lab.errors import NetworkUnavailableError, NotFoundError, StorageError, SymbioError, TrustError
from symbio_lab.marketplace.registry.signer import require_tuf

_SIGNED_BY = re.compile(r"signed by (\d+)/(\d+) keys")


def refusal(error: Exception, role: str, uri: str) -> SymbioError:
    """Return the typed error for what python-tuf, or our fetcher beneath it, raised.

    Args:
        error: an exception of ``tuf.api.exceptions``, or an ``OSError`` of its cache.
        role: role whose metadata was being read, as in its file name.
        uri: address of the registry, for the message.
    """
    require_tuf()
    from symbio_lab.marketplace.registry import tuf_names as tuf

    if isinstance(error.__cause__, SymbioError):
        return error.__cause__
    where = f"the {role} metadata of {uri}"
    match error:
        case tuf.ExpiredMetadataError():
            return TrustError("stale", f"{where}: {error}")
        case tuf.UnsignedMetadataError():
            match = _SIGNED_BY.search(str(error))
            code = "threshold" if match and int(match[1]) > 0 else "bad_signature"
            return TrustError(code, f"{where}: {error}")
        case tuf.LengthOrHashMismatchError():
            return TrustError("mix_and_match", f"{where} is not the file that the registry names: {error}")
        case tuf.BadVersionNumberError():
            # The one message of a snapshot that is not the one its timestamp names; all others are steps back.
            mixed = role not in ("root", "timestamp", "snapshot") or str(error).startswith("Expected snapshot version")
            return TrustError("mix_and_match" if mixed else "rollback", f"{where}: {error}")
        case tuf.DownloadLengthMismatchError() if role in ("root", "timestamp"):
            return TrustError("bad_response", f"{where} is longer than it may be")
        case tuf.DownloadLengthMismatchError():
            return TrustError("mix_and_match", f"{where} is longer than the file that the registry names")
        case tuf.DownloadHTTPError() if role in ("root", "timestamp"):
            return NotFoundError(f"there is no registry at {uri}", hint="check the address: metadata/timestamp.json")
        case tuf.DownloadHTTPError():
            return TrustError("mix_and_match", f"{where} is named by the registry, but missing")
        case tuf.DownloadError():
            return NetworkUnavailableError(f"cannot read {where}", hint="check the address and the network")
        case tuf.RepositoryError() if "missing info for" in str(error):
            return TrustError("rollback", f"{where}: {error}")
        case tuf.RepositoryError():
            return TrustError("bad_response", f"{where} is not valid: {error}")
    return StorageError(f"cannot keep the metadata of {uri}: {getattr(error, 'strerror', None) or error}")
