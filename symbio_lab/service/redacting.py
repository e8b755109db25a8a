"""What a tenant has removed from its records before they are stored."""

from __future__ import annotations

from symbio_lab.monitor.redaction import Redaction
from symbio_lab.monitor.redaction_key import load_or_create_redaction_key
from symbio_lab.service.state import ServiceState
from symbio_lab.service.tenant_policy import TenantPolicy


def redaction_of(state: ServiceState, policy: TenantPolicy) -> Redaction | None:
    """Return the rules of a tenant's policy: addresses and long numbers out of texts and metadata, or nothing.

    Raises:
        StorageError: the key cannot be read.
    """
    if not policy.redact:
        return None
    key = load_or_create_redaction_key(state.settings.keys)
    return Redaction({"input_sample": "scrub", "metadata.*": "scrub"}, key=key)
