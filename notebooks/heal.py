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
# # Heal a failing model, both ways
#
# A language model in use starts to fail on one kind of input. There are two cures: **adopt** a signed patch that
# somebody already made, or **operate** on the model with the failures at hand. This notebook builds such a failing
# model, tries both cures under one budget and one judge, and shows which was better, with intervals.
#
# Change the parameters and run all cells. Finished work is kept in `out`: running again resumes.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # a failing world: helpdesk, or clinc150/<domain>
pool: str = "high"  # how relevant the marketplace is: null, low, medium, high
strategies: list = ["noop", "null_pool", "best_single", "surgery_only", "marketplace_first"]
reference_arms: list = ["oracle_best", "surgery_donor_data"]  # hindsight rows, shown apart
n_repair: int = 16  # labelled failures given to the healer, those for the decision included
n_replay: int = 512  # labelled other traffic that may be trained on
n_control: int = 1000  # control samples for the gate, at most
seeds: list = [0]  # each draws its own incident
world_seed: int = 0  # draws base and pool
contributor_size = None  # training samples of a contributor: 32, 128, 512, or None for the world's own
gate: str = "lab"  # lab or strict
base_per_label = None  # training samples of the base for each label, at most; None for the world's own
budget_forwards = None  # forwards-equivalent of each arm; None takes the world's
max_marketplace_patches: int = 20  # candidates evaluated, at most
out: str = "runs/heal"  # results, resumable
shared = None  # folder of results that runs have in common; a sweep sets it

# %%
from pathlib import Path

from symbio_lab.comparison.compare import compare
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.display.progress import PlainProgress
from symbio_lab.reports import arms, candidates, failing, headline
from symbio_lab.reports.collecting import collect_results
from symbio_lab.scenarios.world import build_world

plan = ComparisonPlan(
    scenario=scenario,
    pool=pool,
    strategies=tuple(strategies),
    seeds=tuple(seeds),
    world_seed=world_seed,
    n_repair=n_repair,
    n_replay=n_replay,
    n_control=n_control,
    contributor_size=contributor_size,
    base_per_label=base_per_label,
    gate=gate,
    budget_forwards=budget_forwards,
    max_marketplace_patches=max_marketplace_patches,
    reference_arms=tuple(reference_arms),
)
plan.check()

# %% [markdown]
# ## The failing slice
#
# The base model was trained without one domain, and requests about it keep coming. How often is it right?

# %%
world = build_world(
    scenario,
    world_seed=world_seed,
    contributor_size=contributor_size,
    base_per_label=base_per_label,
    listener=PlainProgress(),
)
failing.base_accuracy_figure(world)

# %% [markdown]
# ## Heal
#
# Every arm gets the same failures and the same budget. A patch from the pool is verified before its weights are
# loaded, screened on the failures to repair, and put to the gate on failures it has not seen. The first run also
# builds the pool.

# %%
common = Path(shared) if shared else None
compare(plan, Path(out), settings=world.settings, listener=PlainProgress(), shared=common)
results = collect_results(out)

# %% [markdown]
# What failed, in words and figures:

# %%
failing.failing_slice(results)

# %% [markdown]
# ## Which was better?

# %%
headline.headline(results)

# %%
arms.arms_summary(results)

# %%
arms.arms_figure(results)

# %% [markdown]
# ## The healed model's answers
#
# Held-out inputs of the slice, before and after. None of them was trained, screened or decided on.

# %%
arms.healed_examples(results)

# %% [markdown]
# ## What was refused
#
# Some publishers of every pool are attackers. `symbio report` writes the whole story as one page.

# %%
candidates.refusals(results)
