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
# # The marketplace
#
# Patches lie in markets: folders, or the Hugging Face Hub (`hf://OWNER`). Nothing in a market is believed. A patch is
# a manifest signed by its publisher and files whose digests the manifest names; it is verified before a byte of its
# weights is opened, and evaluated on your own failures before it may be deployed.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # its pool of patches is the market looked at
pool: str = "high"  # relevance of the pool: null, low, medium, high
query: str = "warranty claims"  # what should be healed
n_repair: int = 16  # labelled failures that candidates are tried on
out: str = "runs/marketplace"  # verified patches

# %%
from pathlib import Path

from symbio_lab.display.progress import PlainProgress
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.records import SearchQuery
from symbio_lab.scenarios.world import build_world
from symbio_lab.store.observed_time import utc_now
from symbio_lab.widgets import MarketplaceBrowser

world = build_world(scenario, listener=PlainProgress())
built = world.pool(pool)
client = MarketplaceClient([built.transport], built.policy, Path(out), utc_now(), SentenceEmbedder())

# %% [markdown]
# ## Look around
#
# Some publishers of every pool are attackers: refused offers say by which rule. Choose a row to see its manifest, what
# every rule says, and what others measured.

# %%
client.refresh()  # read now, so that a shared copy of this notebook shows the offers too
MarketplaceBrowser(client, base_digest=world.model.digest, query=query, suite=scenario)

# %% [markdown]
# ## The same in Python

# %%
asked = SearchQuery(world.model.task_type, query, base_digest=world.model.digest, max_results=5)
candidates = client.search(asked)
candidates[0]

# %%
patch, attempt = client.fetch(candidates[0])
patch if patch is not None else attempt

# %% [markdown]
# ## Does it help here?
#
# What a publisher claims says little about *your* failures. The best verified candidate is chosen on failures of this
# incident and put to the gate on others.

# %%
from symbio_lab.evaluation.suites import SuiteSizes
from symbio_lab.pipeline import heal

suite = world.incident(SuiteSizes(n_repair=n_repair), 0)
healed = heal(world.model, suite.task, store=Path(out), strategy="best_single", market=client)
healed.outcome
