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
# # Adopt or operate? A report over many incidents

# %% tags=["parameters"]
sweep_dir: str = "runs/smoke"  # folder of `symbio sweep run --out`, or of an experiment with its results

# %%
from symbio_lab.reports.sweep import (
    crossover,
    families,
    forest,
    headline,
    healing_time,
    pareto,
    profiles,
    provenance,
    ranking,
    tables,
)
from symbio_lab.reports.sweep.results import collect_sweep

results = collect_sweep(sweep_dir)
where = headline.reading_where(results)
headline.asked(results)

# %%
headline.glossary(results)

# %% [markdown]
# ## Registered: what was to be decided, and what came of it

# %%
headline.registered(results)

# %% [markdown]
# ## Exploratory: everything else

# %%
headline.exploratory_note(results)

# %% [markdown]
# ### Where the answer turns: gain by number of failures and by pool

# %%
crossover.crossover_figure(results)

# %% [markdown]
# ### Incident by incident

# %%
first, second = results.rows.spec.contrasts[0] if results.rows.spec.contrasts else results.arms[:2]
forest.forest_figure(results, first, second, where)

# %% [markdown]
# A bar is the difference in one incident with its interval, computed as if the two arms had been judged on different
# samples (they were judged on the same, so it is too wide if anything); the diamond is the mean over incidents, with an
# interval from resampling them. To the right of zero the first arm gains more.

# %% [markdown]
# ### Does one family of worlds decide?

# %%
families.families_table(results)

# %% [markdown]
# ### What is fixed, and what is broken for it

# %%
pareto.pareto_figure(results, where)

# %% [markdown]
# Small marks are incidents, large ones means; a filled large mark is an arm that no other beats on both counts.

# %% [markdown]
# ### How gains are spread over incidents

# %%
profiles.profiles_figure(results, where)

# %%
profiles.aggregates_table(results, where)

# %% [markdown]
# ### Arms by rank

# %%
ranking.ranking_figure(results, where)

# %% [markdown]
# ### Time to heal

# %%
healing_time.healing_time_figure(results, where)

# %% [markdown]
# A line falls when an incident is healed, that is, when the gate lets a patch through; it ends above zero where some
# never were. Forwards-equivalent is work counted in single samples through the base.

# %% [markdown]
# ### What it cost

# %%
tables.costs_table(results, where)

# %% [markdown]
# ### The incidents, and every arm in every pool

# %%
tables.worlds_table(results)

# %%
tables.arms_tables(results)

# %%
provenance.sweep_provenance(results)
