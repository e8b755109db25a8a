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
# # Bring your own model and data
#
# You have a classifier or a causal language model, saved with `save_pretrained` or on the Hub, and a table of its
# traffic with gold labels. This notebook runs the model over the table, takes one slice of the traffic on which it
# fails, heals it in several ways under one budget and one judge, and shows which was better, with intervals.
#
# Without changes it uses an example that it writes itself: a help desk classifier that never learned about warranty.
# Set `model` and `data` to your own, name your columns, and run all cells. The same from a terminal:
#
#     symbio compare --model PATH_OR_ID --data FILE --text-field text --label-field label --slice FIELD=VALUE

# %% tags=["parameters"]
model: str = "example"  # folder or Hub id of a sequence classifier or causal language model
data: str = ""  # CSV, JSONL (also .gz), Parquet, or a Hub dataset
text_field: str = "text"  # column of the input
label_field: str = "intent"  # column of the gold label or output
slice_field: str = "topic"  # column whose value says what fails; empty: the failure patterns, largest first
slice_value: str = "warranty"  # its value
group_field: str = ""  # column of what splits keep together (conversation, template); empty: near duplicates
train: str = ""  # table that the model was trained on: replay; none uses other traffic
market: str = ""  # folder of patches; none: arms that adopt say so
task: str = ""  # text_classification or text_generation; empty: as the model's configuration says
strategies: list = ["noop", "surgery_only", "marketplace_first"]
n_repair: int = 16  # labelled failures given to the healer, those for the decision included
seeds: list = [0]  # each draws its own incident
gate: str = "lab"  # lab or strict
out: str = "runs/own"  # results, resumable

# %%
from pathlib import Path

from symbio_lab.comparison.own_data import OwnData, compare_own_data, market_or_none
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.display.progress import PlainProgress
from symbio_lab.reports import arms, failing, headline
from symbio_lab.reports.collecting import collect_results
from symbio_lab.scenarios.own_example import write_own_example

if model == "example":
    example = write_own_example(Path(out) / "example", listener=PlainProgress())
    model, data, train = example.model, str(example.data), str(example.train)

# %% [markdown]
# ## Heal
#
# The model answers every row once. Rows of the slice that it gets wrong are the failures; they are divided by group
# into what the healer gets and what it is judged on. Rows outside the slice show what healing breaks.

# %%
own = OwnData(
    data,
    text_field,
    label_field,
    slice=f"{slice_field}={slice_value}" if slice_field else None,
    group_field=group_field or None,
    train=train or None,
)
plan = ComparisonPlan("", strategies=tuple(strategies), seeds=tuple(seeds), n_repair=n_repair, gate=gate)
done = compare_own_data(
    model,
    own,
    Path(out),
    plan=plan,
    market=market_or_none(market),
    task=task or None,
    listener=PlainProgress(),
)
print("compared:", *done.comparisons, sep="\n  ")
print(*(f"left out: {reason}" for reason in done.left_out), *done.notes, sep="\n")

# %% [markdown]
# The first slice is shown below; each has its own folder, and `symbio report` makes a page of it.

# %%
first = next(iter(done.comparisons.values()))
results = collect_results(first.out)

# %% [markdown]
# ## What fails

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
# The whole story as one page: `symbio report` with the folder of the slice.
