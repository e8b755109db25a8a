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
# # Quickstart
#
# A language model in use fails on one kind of input. Is it better to **adopt** a signed patch that somebody already
# made, or to **operate** on the model with the failures at hand? This notebook builds a failing model (a help desk
# that never learnt about warranty; no network, no token) and lets both cures try. The first picture takes less than a
# minute, the rest about three.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # a failing world; `symbio compare --help` names others
pool: str = "high"  # how relevant the marketplace is: null, low, medium, high
strategies: list = ["noop", "best_single", "surgery_only", "marketplace_first"]
n_repair: int = 16  # labelled failures given to each arm
seed: int = 0  # draws the incident
out: str = "runs/quickstart"  # results, resumable

# %%
from pathlib import Path

from symbio_lab.display.progress import PlainProgress
from symbio_lab.reports import arms, failing, headline
from symbio_lab.scenarios.world import build_world

world = build_world(scenario, listener=PlainProgress())
failing.base_accuracy_figure(world)

# %% [markdown]
# ## Both cures
#
# Each arm gets the same failures, the same budget and the same judge, and a gate decides on samples that it has not
# seen whether its patch may be deployed.

# %%
from symbio_lab.comparison.compare import compare
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.reports.collecting import collect_results

plan = ComparisonPlan(
    scenario, pool=pool, strategies=tuple(strategies), seeds=(seed,), n_repair=n_repair, reference_arms=()
)
compare(plan, Path(out), settings=world.settings, world=world, listener=PlainProgress())
results = collect_results(out)
headline.headline(results)

# %%
arms.arms_figure(results)

# %% [markdown]
# ## What the healed model answers
#
# Inputs that nobody trained, screened or decided on.

# %%
arms.healed_examples(results)

# %% [markdown]
# Next: `healing_bench` does this with buttons, `marketplace` looks at the patches, `surgery` at operating,
# `bring_your_own` takes your model and data, `sweep` many incidents at once.
