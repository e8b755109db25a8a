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
# # A sweep and its report
#
# Many incidents at once: a YAML file names the parameters, papermill runs the notebook `heal` once for each
# combination, finished runs are kept under content keys and never computed twice. The report is one page that opens
# anywhere.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # a failing world
n_repair: list = [8, 16]  # numbers of failures given
strategies: list = ["noop", "best_single", "surgery_only"]
out: str = "runs/sweep"  # the sweep's folder

# %%
from pathlib import Path

import yaml

from symbio_lab.sweeps.plan import make_plan

spec = {
    "name": "small",
    "description": "Adopt or operate, with few and more failures.",
    "notebook": "heal",
    "parameters": {"scenario": scenario, "strategies": strategies, "reference_arms": []},
    "grid": {"product": {"n_repair": n_repair}},
    "primary_metric": "deployed_net_gain_pp",
}
file = Path(f"{out}.yaml")
file.parent.mkdir(parents=True, exist_ok=True)
file.write_text(yaml.safe_dump(spec, sort_keys=False))
plan = make_plan(file, Path(out))

# %% [markdown]
# Watch it here (*Resume* starts what is missing in a process of its own), or let the next cell run it.

# %%
from symbio_lab.widgets import SweepMonitor

SweepMonitor(out)

# %%
from symbio_lab.display.sweep_progress import SweepProgress
from symbio_lab.sweeps.runner import run_sweep

done = run_sweep(plan, listener=SweepProgress())
SweepMonitor(out)

# %% [markdown]
# ## The report

# %%
from symbio_lab.reports.writing import write_sweep_report

print(write_sweep_report(Path(out)))

# %%
from symbio_lab.widgets import StrategyComparison

StrategyComparison(out)
