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
# # The healing bench
#
# One incident, the arms that are to heal it, and what comes of it: tick arms, *Run*, watch candidates as they are
# evaluated, choose an arm to see its answers, *Deploy* what the gate accepted, *Roll back* bit for bit. Everything runs
# in a process of its own: other cells answer all the while, and *Cancel* keeps what is finished.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # a failing world
pool: str = "high"  # relevance of its marketplace
strategies: list = ["noop", "best_single", "surgery_only", "marketplace_first"]
n_repair: int = 16  # labelled failures given to each arm
seed: int = 0  # draws the incident
run: bool = False  # True runs at once and waits, as in a batch
out: str = "runs/bench"  # results, resumable

# %%
from symbio_lab.widgets import HealingBench

bench = HealingBench(scenario, pool=pool, strategies=strategies, n_repair=n_repair, seed=seed, out=out)
bench

# %% [markdown]
# A batch presses the button itself:

# %%
if run:
    bench.run()
    print(bench.wait())

# %% [markdown]
# What a reader of the shared notebook sees:

# %%
bench.twin()
