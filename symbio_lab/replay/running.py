"""Everything that a replay needs, built and run: world, stream, market, a store of its own, and the picture."""

from __future__ import annotations

from pathlib import Path

from symbio_lab.codec import write_atomic
from symbio_lab.comparison.market import NO_MARKET, market_of_pool
from symbio_lab.config import Settings, load_settings
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.stream import stream_chart
from symbio_lab.events import Listener
from symbio_lab.marketplace.client import MarketplaceClient
from symbio_lab.models.embedding import SentenceEmbedder
from symbio_lab.records import content_id
from symbio_lab.replay.replaying import replay
from symbio_lab.replay.story import ReplayResult, ReplaySettings
from symbio_lab.replay.stream import build_stream
from symbio_lab.scenarios.population import NOW
from symbio_lab.scenarios.recipe import Relevance
from symbio_lab.scenarios.world import build_world
from symbio_lab.store import Database
from symbio_lab.trust.policy import TrustPolicy

CHART = "stream.png"
"""Name of the picture in the folder of a run."""
STORE = "replay.db"
"""Name of the run's store; the lab's own has another name, so no run begins it anew, whatever its folder."""


def run_replay(
    watched: ReplaySettings,
    *,
    pool: Relevance | str = "high",
    settings: Settings | None = None,
    out: Path | None = None,
    listener: Listener | None = None,
) -> tuple[ReplayResult, Path]:
    """Run a replay and return what happened and the folder of the run.

    Args:
        watched: what is streamed, how it is watched and what may be done.
        pool: relevance of the market's pool, built once and cached; ``none``: there is no market.
        settings: state folder, device, threads; None loads them.
        out: folder of the run, whose store is begun anew; None: below ``replays/`` in the state folder.
        listener: told about every step.

    Raises:
        ConfigError: the plan of the stream is wrong.
        UnknownDatasetError: no world has this dataset and domain.
        DataError: the world has too little held-out traffic.
        StorageError: the folder cannot be written.
    """
    settings = settings or load_settings().settings
    scenario = watched.plan.scenario()
    world = build_world(scenario, settings=settings, listener=listener)
    stream = build_stream(world, watched.plan)
    name = f"{scenario.replace('/', '~')}-{content_id([watched, pool])[:12]}"
    folder = out or settings.home / "replays" / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"{STORE}*"):
        old.unlink()
    embed = SentenceEmbedder()
    market = NO_MARKET if pool == "none" else market_of_pool(world.pool(pool))  # type: ignore[arg-type]
    client, _ = market.view(folder / "overlay", settings.patches, embed)
    result = replay(
        world,
        stream,
        settings=watched,
        market=client or MarketplaceClient([], TrustPolicy(), settings.patches, NOW, embed),
        embed=embed,
        database=Database(folder / STORE),
        patches=settings.patches,
        listener=listener,
    )
    write_atomic(folder / CHART, replay_chart(result).png)
    return result, folder


def replay_chart(result: ReplayResult, title: str = "") -> Bundle:
    """Return the error rate over the stream, with shift, alarm, pattern and healing."""
    marks = {
        "shift": result.shift_at,
        "alarm": result.alarm_at,
        "pattern": result.pattern_at,
        "healed": result.healed_at,
    }
    return stream_chart(result.failed, marks, title)
