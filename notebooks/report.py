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
# # Adopt a patch, or operate? A healing report
#
# A language model in use fails on one kind of input. It can be healed by *adopting* a signed patch that somebody else
# already made (marketplace), or by *operating* on it with a few labelled failures (surgery). Both were done here, on
# the same failures, under the same budget, and judged on the same held-out samples.

# %% tags=["parameters"]
results_dir: str = "runs/demo"  # folder that `symbio compare --out` wrote

# %%
from symbio_lab.reports import arms, candidates, failing, headline, provenance, reading, spending
from symbio_lab.reports.collecting import collect_results

results = collect_results(results_dir)
headline.headline(results)

# %%
arms.arms_figure(results)

# %%
reading.figure_note(results)

# %% [markdown]
# ## What failed

# %%
failing.failing_slice(results)

# %% [markdown]
# ## What each arm did

# %%
arms.arms_summary(results)

# %%
arms.references_note(results)

# %%
arms.arms_details(results)

# %% [markdown]
# ### Before and after

# %%
arms.healed_examples(results)

# %% [markdown]
# ## The candidates and their verdicts

# %%
candidates.standing_figure(results)

# %%
candidates.standing_tables(results)

# %%
candidates.pool_section(results)

# %% [markdown]
# ### What the gate said

# %%
candidates.gate_note(results)

# %%
candidates.gate_looks(results)

# %% [markdown]
# ## What was refused, and why

# %%
candidates.refusals(results)

# %% [markdown]
# ### The noisy and the backdoored patch

# %%
candidates.poisoned(results)

# %% [markdown]
# ## What it cost

# %%
spending.phases_figure(results)

# %%
spending.accounts_table(results)

# %%
spending.break_even(results)

# %% [markdown]
# ## How to read this

# %%
reading.definitions(results)

# %%
reading.glossary()

# %%
provenance.provenance(results)
