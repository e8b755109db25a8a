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
# # A language model of the Hub
#
# The same question for a model that writes text: a slice of its prompts is answered wrongly; is it worth operating, and
# what does that break? Answers are decoded greedily and free-running, and are right when they equal the gold answer.
#
# Name a causal language model of the Hub and a table of prompts with gold answers. On a GPU it runs there, in bfloat16;
# an instruction model is asked through its chat template. Without a name the notebook takes a small model that ships
# with the lab, which turns commands into actions and never saw `jump` inside a longer command: two minutes on a CPU.

# %% tags=["parameters"]
model: str = ""  # Hub id, e.g. HuggingFaceTB/SmolLM2-360M-Instruct, or a folder; empty: the small model of the lab
data: str = ""  # CSV, JSONL (also .gz), Parquet, or a Hub dataset
text_field: str = "text"  # column of the prompt
label_field: str = "answer"  # column of the gold answer
slice_field: str = "topic"  # column whose value says what fails; empty: the failure patterns, largest first
slice_value: str = "compounds of jump"  # its value
group_field: str = ""  # column of what splits keep together (conversation, template); empty: near duplicates
train: str = ""  # table of prompts that it answered well: replay; none uses other traffic
strategies: list = ["noop", "surgery_only"]
n_repair: int = 32  # labelled failures given to the healer, those for the decision included
seeds: list = [0]
out: str = "runs/hub-llm"  # results, resumable

# %%
from dataclasses import replace
from pathlib import Path

import torch

from symbio_lab.comparison.own_data import OwnData, compare_own_data
from symbio_lab.comparison.plan import ComparisonPlan
from symbio_lab.config import load_settings
from symbio_lab.display.progress import PlainProgress
from symbio_lab.reports import arms, failing, headline
from symbio_lab.reports.collecting import collect_results
from symbio_lab.scenarios.own_example import write_own_language_example

settings = load_settings().settings
if torch.cuda.is_available() and model:
    settings = replace(settings, dtype="bfloat16")
    print(f"{model} on {torch.cuda.get_device_name()}, {settings.dtype}")
elif model:
    print(f"There is no CUDA device: {model} runs on the CPU in {settings.dtype}, which takes its time.")
else:
    example = write_own_language_example(Path(out) / "example", settings=settings, listener=PlainProgress())
    model, data, train, group_field = example.model, str(example.data), str(example.train), "group"
    print(f"No model is named: the lab's own, of {model.num_parameters:,} parameters.")

# %% [markdown]
# ## Heal
#
# The model answers every prompt once. Those of the slice that it gets wrong are the failures; they are divided into
# what the healer gets and what it is judged on. The other prompts show what healing breaks.

# %%
own = OwnData(
    data,
    text_field,
    label_field,
    slice=f"{slice_field}={slice_value}" if slice_field else None,
    group_field=group_field or None,
    train=train or None,
)
plan = ComparisonPlan("", strategies=tuple(strategies), seeds=tuple(seeds), n_repair=n_repair)
done = compare_own_data(
    model,
    own,
    Path(out),
    plan=plan,
    task="text_generation",
    settings=settings,
    listener=PlainProgress(),
)
print(*(f"left out: {reason}" for reason in done.left_out), *done.notes, sep="\n")
results = collect_results(next(iter(done.comparisons.values())).out)

# %% [markdown]
# ## What fails

# %%
failing.failing_slice(results)

# %% [markdown]
# ## Did operating pay?
#
# *Net gain* is the change of right answers in traffic of which one tenth is the failing slice: what surgery fixes, less
# what it breaks elsewhere. An arm whose patch the gate refuses leaves the model as it is.

# %%
headline.headline(results)

# %%
arms.arms_summary(results)

# %%
arms.arms_figure(results)

# %% [markdown]
# ## Answers, before and after
#
# Held-out prompts: none was trained, screened or decided on.

# %%
arms.healed_examples(results)
