"""A Hugging Face Hub on the loopback interface: for labs and tests, not for the internet.

The unmodified ``huggingface_hub`` client makes, lists, uploads, downloads, proposes and discusses against it; faults
can be injected between the two. Extra ``service`` (uvicorn).

Example::

    with LoopbackHub(users={"alice": "hf_alice"}) as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_alice")
        api.create_repo("alice/travel")
        hub.faults.add(Fault(method="GET", path="/resolve/", kind="bit_flip"))

Files, in reading order:
    - ``serving.py``: starting and stopping; ``serving_app.py``: the wire; ``faults.py``: what goes wrong on purpose.
    - ``answers.py``: requests and answers; ``state.py``: what all handlers ask; ``names.py``, ``accounts.py``.
    - ``blobs.py``, ``repositories.py``: what is on disk.
    - ``managing.py``, ``committing.py``, ``lfs.py``, ``discussions.py``, ``curation.py``: what changes it.
    - ``cards.py``, ``listing.py``, ``content.py``: what reads it.
"""

from symbio_lab.testing.loopback_hub.faults import Fault as Fault
from symbio_lab.testing.loopback_hub.serving import LoopbackHub as LoopbackHub
from symbio_lab.testing.loopback_hub.state import HubLimits as HubLimits
