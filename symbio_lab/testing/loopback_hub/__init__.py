"""A Hub on a loopback address that the unmodified ``huggingface_hub`` client reads from and writes to.

For labs and tests, not for the internet: it keeps repositories, large files, pull requests, discussions, tags and
collections in one folder, and misbehaves where a test asks for it. Clients that have ``hf_xet`` need
``HF_HUB_DISABLE_XET=1``: large files travel by Git LFS.

Modules:
    serving          the server in its thread (``LoopbackHub``)
    app, receiving   requests in, answers out
    accounts, names, state, answers   who asks, for what, and what the handlers share
    repositories, blobs, curation   what is kept, and how it lies in the folder
    listing, cards, browsing, downloading   reading
    managing, committing, lfs, discussions  writing
    faults, tampering                 misbehaving

Example:
    from huggingface_hub import HfApi
    from symbio_lab.testing.loopback_hub import Fault, LoopbackHub

    with LoopbackHub(users={"alice": "hf_alice"}) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_alice")
        api.create_repo("alice/travel")
        hub.faults.add(Fault(method="GET", path=r"/api/models", kind="status", status=503, times=2))
"""

from symbio_lab.testing.loopback_hub.faults import Fault
from symbio_lab.testing.loopback_hub.serving import LoopbackHub
from symbio_lab.testing.loopback_hub.state import HubLimits

__all__ = ["Fault", "HubLimits", "LoopbackHub"]
