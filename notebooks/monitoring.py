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
# # From traffic to a healed model
#
# A model in use answers requests. After a while another kind of request sets in, one that it never learnt. This
# notebook plays real held-out traffic to the lab's monitor as if it came in now, and follows one failure from the first
# wrong answers to a deployed patch:
#
# 1. every answer goes into a store; its ground truth follows, at once or later;
# 2. a detector with a stated false-alarm budget watches the error rate, overall and in every domain;
# 3. after an alarm, the latest traffic is searched for what fails more than the rest;
# 4. from the pattern an incident is drawn: samples to repair on, samples to decide on, samples to judge on;
# 5. the market is searched, and the advice is ranked by what is known of each choice;
# 6. a policy decides whether that starts by itself; the healed model answers the rest of the stream.
#
# The same from a terminal:
#
#     symbio monitor replay --dataset clinc150 --shift domain:travel --at 3000 --heal

# %% tags=["parameters"]
dataset: str = "clinc150"  # failure dataset whose held-out traffic is streamed
shift: str = "domain:travel"  # what sets in: a domain that the base never learnt
at: int = 3000  # requests before it does
share: float = 0.3  # share of these requests afterwards
pool: str = "high"  # relevance of the market: null, low, medium, high; none
strategy: str = "marketplace_first"  # how the model is healed
heal: bool = True  # False stops at the advice
label_delay: int = 0  # requests after which a ground truth is known
false_alarms_per_10k: float = 1.0  # false alarms allowed in 10,000 requests
seed: int = 0  # order of the requests and every random choice
min_controls: int = 400  # unfiltered samples of other traffic that the gate asks for
out: str = "runs/monitoring"  # store, picture and patches of this run

# %%
from pathlib import Path

from symbio_lab.deployment.gate import GatePolicy
from symbio_lab.display.progress import PlainProgress
from symbio_lab.replay import showing
from symbio_lab.replay.running import replay_chart, run_replay
from symbio_lab.replay.story import ReplaySettings
from symbio_lab.replay.stream import StreamPlan

watched = ReplaySettings(
    plan=StreamPlan(dataset, shift, at, share, seed),
    heal=heal,
    strategy=strategy,
    label_delay=label_delay,
    false_alarms_per_10k=false_alarms_per_10k,
    gate=GatePolicy(min_controls=min_controls),
)
result, folder = run_replay(watched, pool=pool, out=Path(out), listener=PlainProgress())

# %% [markdown]
# ## The stream
#
# The line is the share of wrong answers among the latest 100, the band its 95 % interval.

# %%
replay_chart(result)

# %% [markdown]
# ## The alarm
#
# The detector bets on a rise over the error rate that was normal in the first few hundred requests; it alarms when its
# winnings reach what the false-alarm budget allows a stationary stream.

# %%
showing.alarm_words(result)

# %%
showing.health_words(result)

# %% [markdown]
# ## The pattern
#
# Conditions on the input, and groups of failures that lie close in meaning, are looked for in one half of the latest
# traffic and tested on the other. Rates are of that other half alone; *explained* is how many failures there are beyond
# what the rate outside would give.

# %%
showing.patterns_table(result)

# %% [markdown]
# ## The incident
#
# Near duplicates stay together, and nothing that the healer is given is judged on.

# %%
showing.samples_table(result)

# %% [markdown]
# ## The advice
#
# A gain is stated only where somebody other than the publisher measured it. What nobody measured is tried on the
# failures themselves, behind the gate.

# %%
showing.advice_table(result)

# %% [markdown]
# ## Recovery
#
# The rest of the stream, answered by the healed model. Requests that the healer was given, and near duplicates of them,
# do not count.

# %%
showing.outcome_words(result)

# %%
showing.recovery_table(result)
