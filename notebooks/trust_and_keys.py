# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Trust and keys
#
# Whose patches may this installation adopt? Signatures say who published a patch; a policy says who counts. Keys are
# made, enrolled, succeeded and revoked; secrets never pass through a notebook.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # its pool has honest publishers and attackers
pool: str = "high"  # relevance of the pool
out: str = "runs/trust"  # a key ring and a policy to play with; your own are not touched

# %% [markdown]
# ## A key and its card
#
# The card is public: others enrol it and compare the key's id with what you tell them by another way. (This key is
# kept in the clear, to play with; `symbio market keys new NAME` encrypts a real one.)

# %%
from pathlib import Path

from symbio_lab.trust.key_card import card_of
from symbio_lab.trust.key_ring import KeyRing

ring = KeyRing(Path(out) / "keys")
names = [key.name for key in ring.stored()]
own = ring.find("me") if "me" in names else ring.create("me", "none")
card_of("me", own.public_hex)

# %% [markdown]
# ## What a policy refuses, and why
#
# The pool's publishers are enrolled, all but one. Each refusal has a code of its own.

# %%
from symbio_lab.display.progress import PlainProgress
from symbio_lab.marketplace.index import build_index
from symbio_lab.scenarios.world import build_world
from symbio_lab.store.observed_time import utc_now
from symbio_lab.trust.policy_words import describe_policy

built = build_world(scenario, listener=PlainProgress()).pool(pool)
index = build_index(built.transport, built.policy, now=utc_now())
print(*(f"{entry.ref}: {entry.problem}: {entry.detail}" for entry in index.entries if entry.problem), sep="\n")

# %%
print(*list(describe_policy(built.policy))[:4], sep="\n")

# %% [markdown]
# ## One byte
#
# A copy of a good patch with one flipped byte is refused before its weights are opened.

# %%
import shutil

from symbio_lab.errors import TrustError
from symbio_lab.trust.trusted_set import TrustedState
from symbio_lab.trust.verifying import verify_patch

good = next(entry for entry in index.entries if entry.problem is None)
copy = Path(out) / "copy"
shutil.rmtree(copy, ignore_errors=True)
built.transport.fetch(good.ref, copy)
weights = copy / "adapter_model.safetensors"
changed = bytearray(weights.read_bytes())
changed[-1] ^= 1
weights.write_bytes(bytes(changed))
try:
    verify_patch(copy, built.policy, TrustedState(), now=utc_now(), store=Path(out) / "store")
except TrustError as error:
    print(f"{error.code}: {error}")

# %% [markdown]
# ## Manage it
#
# Keys that count in this installation, a policy with its problems shown as you type, and what it would say to a market.

# %%
from symbio_lab.widgets import TrustManager

TrustManager(policy=Path(out) / "policy.yaml", markets=[str(built.path)])
