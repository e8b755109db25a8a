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
# # symbio-lab
#
# Heal a failing model, look through markets, decide whom to trust. `symbio lab --dashboard` shows this page without
# its code.

# %% tags=["parameters"]
scenario: str = "helpdesk"  # the healing bench begins with it
markets: list = []  # addresses of markets: folders, file://..., hf://...
model_id: str = ""  # a model whose answers are collected (symbio monitor ingest); empty shows none
tenant: str = "default"  # whose answers
out: str = "runs/dashboard"  # results of the bench

# %%
from symbio_lab.widgets.dashboard import Dashboard

Dashboard(scenario, markets=markets, model_id=model_id, tenant=tenant, out=out)
