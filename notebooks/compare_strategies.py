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
# # Compare strategies
#
# Figures with intervals say which arm is better; samples say how. `StrategyComparison` shows both: the arms side by
# side, and every judged sample that two of them answer differently. Given a sweep it shows where each arm wins, over
# the number of failures and the relevance of the market.

# %% tags=["parameters"]
folder: str = "runs/quickstart"  # results of a comparison (`symbio compare`, or the notebook quickstart)
sweep: str = ""  # folder of a sweep, or of an experiment such as experiments/marketplace-vs-surgery

# %%
from symbio_lab.widgets import StrategyComparison

StrategyComparison(folder)

# %%
StrategyComparison(sweep) if sweep else print("name a sweep to see fixes against damage, and the crossover")
