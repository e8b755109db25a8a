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
# # Surgery
#
# Without a patch that helps one operates: a method learns a patch from the labelled failures at hand. Which method
# wins depends on how many there are. Here each one gets the same failures and the same budget, and is judged on
# samples that none has seen.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # a failing world
methods: list = ["noop", "prototype_rows", "head_retrain", "lora", "lora_replay", "surgery_only"]
n_repair: int = 16  # labelled failures given to each method
seeds: list = [0]  # each draws its own incident
out: str = "runs/surgery"  # results, resumable

# %%
from pathlib import Path

from symbio_lab.comparison.compare import compare
from symbio_lab.comparison.own_data import market_or_none
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.display.progress import PlainProgress
from symbio_lab.reports import arms, headline
from symbio_lab.reports.collecting import collect_results

plan = ComparisonPlan(scenario, strategies=tuple(methods), seeds=tuple(seeds), n_repair=n_repair, reference_arms=())
compare(plan, Path(out), market=market_or_none(""), listener=PlainProgress())
results = collect_results(out)
headline.headline(results)

# %% [markdown]
# `prototype_rows` adds head rows at the class means and moves nothing else; `lora` trains the encoder and breaks more;
# `lora_replay` pays for replay to break less; `surgery_only` chooses between them by failures that it withholds from
# training.

# %%
arms.arms_figure(results)

# %%
arms.arms_table(results)

# %% [markdown]
# ## Before and after

# %%
arms.healed_examples(results)
