"""The names of python-tuf and securesystemslib that the registry uses.

Importing this module needs the extra ``registry``: others import it inside functions, after ``require_tuf``. Both
packages hand names on without saying that they mean to, which a strict type checker must be told once, here.
"""

from securesystemslib.signer import (  # type: ignore[attr-defined, unused-ignore]
    Key,
    Signature,
    Signer,
    SSlibKey,
)
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    DownloadHTTPError,
    DownloadLengthMismatchError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import (  # type: ignore[attr-defined, unused-ignore]
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import (  # type: ignore[attr-defined, unused-ignore]
    FetcherInterface,
    Updater,
)

__all__ = [
    "BadVersionNumberError",
    "Delegations",
    "DownloadError",
    "DownloadHTTPError",
    "DownloadLengthMismatchError",
    "ExpiredMetadataError",
    "FetcherInterface",
    "Key",
    "LengthOrHashMismatchError",
    "Metadata",
    "MetaFile",
    "RepositoryError",
    "Root",
    "Signature",
    "Signer",
    "Snapshot",
    "SSlibKey",
    "SuccinctRoles",
    "TargetFile",
    "Targets",
    "Timestamp",
    "UnsignedMetadataError",
    "Updater",
]
