"""Many streams at once: overall, per tenant, per domain, per expected label, with false-discovery control over all.

Rules:
    1. One labelled answer is one event. It belongs to ``overall`` and to one stream of each kind that it names; each
       stream has its own reference rate and its own evidence (``detectors/rise_evidence.py``).
       What an event names must be known before the answer is judged: a domain or the expected label, never the error.
    2. Labels that arrive late are events when they arrive, in the order of arrival.
    3. At each event e-BH (``detectors/e_bh.py``) selects among the streams: with A the alarm level of the budget and m
       the most streams that one event can belong to (1 + number of kinds), r streams alarm together when each has a
       statistic of at least max(m * A / r, A).
    4. Streams that alarm start again from their reference; the others go on. ``rebase`` declares a new normal.

What is guaranteed, with given reference rates, under any dependence within and between streams: a round is an event at
which streams alarm, its false-discovery proportion the share of its streams whose rate, given the past, has not been
above their reference since their last restart. For every stopping time T, in events::

    E[sum of false-discovery proportions of all rounds up to T]  <=  E[T] / A

so E[FDP at T] <= E[T] / A for the set alarmed at T, and with the default budget false alarms amount to at most one
round in 10,000 events however many streams there are. Besides, every single stream has an average run length of at
least A events of its own.

Why: let F be the sum over true nulls of (their statistic) + m * A * (false-discovery proportions so far). An event adds
at most 1 on average to the statistic of each null stream that it belongs to, m in all. A round takes from each false
member at least m * A / r and adds m * A / r for it. So F less m * (number of events) is a supermartingale.

How streams are counted: by the events they get, not by their number. If each of K streams got an outcome at every
event, m would be K and one stream alone would need K * A, as in e-BH. Here the streams of an event are at most m
however many there are. A new one may therefore open at any time, without a declared capacity and without weights that
shrink with its index; ``max_streams`` bounds memory alone.

A true alarm is not always a worse model: traffic that moves to a domain which always failed more raises the rate
overall, and of no domain.

A learnt reference costs the same as for one stream, see ``rise_evidence.py``; many streams mean that some references
are too low. Give rates measured beforehand (``references``) where there are any.

Example:
    >>> streams = StreamMonitor(references={Stream("overall"): 0.1, Stream("domain", "travel"): 0.1})
    >>> events = [(False, "bank")] * 40 + [(True, "travel")] * 12
    >>> [(a.stream.value, a.at_event) for failed, name in events for a in streams.update(failed, {"domain": name})]
    [('', 51), ('travel', 51)]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from symbio_lab.errors import ConfigError, DataError, NotFoundError
from symbio_lab.monitor.detectors.alarm import Alarm, Stream
from symbio_lab.monitor.detectors.e_bh import e_bh
from symbio_lab.monitor.detectors.false_alarms import alarm_level
from symbio_lab.monitor.detectors.protocol import Outcome, check_state, checked_outcome
from symbio_lab.monitor.detectors.rise_evidence import RiseEvidence

KINDS = ("tenant", "domain", "label")
"""What an event may name besides belonging to ``overall``."""
MAX_STREAMS = 10_000
"""Streams that are opened; 1 KB each when new, up to 12 KB when many of its answers failed."""
_STATE_VERSION = 1
OVERALL = Stream("overall")
"""Every event belongs to it."""


class StreamMonitor:
    """Watches every stream that the events name, and overall.

    Args:
        kinds: what an event may name; more kinds raise the level that one stream alone needs.
        false_alarms_per_10k: most false rounds expected in 10,000 events, in (0, 10,000).
        references: normal error rates of streams where they are known; the others are learnt.
        max_streams: streams that are opened; events of later ones still count for the streams that are open.
        settings: further settings of every ``RiseEvidence``.

    Raises:
        ConfigError: a setting is out of range.

    References:
        Dandapanthula and Ramdas (2025), "Multiple testing in multi-stream sequential change detection": e-BH on
        e-detectors bounds the error over patience, and why no bound without patience can be had. Differs from the
        paper: patience is counted in events of a shared clock instead of one outcome for each of K streams, hence
        m * A in place of K * A; the bound is summed over rounds with restarts; no stream alarms below A.
    """

    def __init__(
        self,
        kinds: Sequence[str] = KINDS,
        *,
        false_alarms_per_10k: float = 1.0,
        references: Mapping[Stream, float] | None = None,
        max_streams: int = MAX_STREAMS,
        **settings: Any,
    ) -> None:
        self._kinds = tuple(kinds)
        self._references = dict(references or {})
        named = {OVERALL.kind, *self._kinds}
        problems = [
            f"references name an unknown kind of stream: {s.kind!r}" for s in self._references if s.kind not in named
        ]
        problems += [] if len(named) == 1 + len(self._kinds) else ["kinds must differ, and none be called 'overall'"]
        problems += [] if max_streams >= 1 else [f"max_streams must be at least 1, not {max_streams!r}"]
        if problems:
            raise ConfigError(problems, hint=f"the kinds are: {', '.join(self._kinds) or 'none'}")
        self._least = alarm_level(false_alarms_per_10k)
        self._level = self._least * len(named)
        self._max_streams = max_streams
        self._settings = settings
        # Kind -> value -> evidence. Plain dictionaries: making and hashing a Stream would double the cost of an event.
        self._groups: dict[str, dict[str, RiseEvidence]] = {kind: {} for kind in (OVERALL.kind, *self._kinds)}
        self._num_open = 0
        # Only streams with at least A can be selected: the rest is never looked at, so an event costs its own streams.
        self._hot: dict[tuple[str, str], RiseEvidence] = {}
        self._num_events = self._num_not_watched = 0
        # Wrong settings of the evidence must fail here, not at the first event.
        self._open(OVERALL.kind, OVERALL.value)
        for rate in self._references.values():
            RiseEvidence(rate, **settings)

    @property
    def num_events(self) -> int:
        """Labelled answers seen."""
        return self._num_events

    @property
    def num_not_watched(self) -> int:
        """Times that an event named a stream which was not opened for want of room."""
        return self._num_not_watched

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams that are open, by kind; within a kind in the order in which they appeared."""
        return tuple(Stream(kind, value) for kind, group in self._groups.items() for value in group)

    def update(self, failed: Outcome, names: Mapping[str, str] | None = None) -> tuple[Alarm, ...]:
        """Take one labelled answer; return the streams that alarm at it, those with most evidence first.

        Args:
            failed: whether the answer was wrong.
            names: kind -> tenant, domain or label of the answer; kinds that are left out or empty are not counted.

        Raises:
            DataError: the outcome is no truth value, or a name is of an unknown kind or no text; nothing was counted.
        """
        if failed.__class__ is not bool:
            failed = checked_outcome(failed)
        touched = [(OVERALL.kind, OVERALL.value)]
        for kind, value in (names or {}).items():
            if kind not in self._kinds or not isinstance(value, str):
                raise DataError(
                    f"{kind!r} = {value!r:.40} names no stream",
                    hint=f"give text for: {', '.join(self._kinds) or 'no kind at all'}",
                )
            if value:
                touched.append((kind, value))
        self._num_events += 1
        could_alarm = False
        for kind, value in touched:
            evidence = self._groups[kind].get(value) or self._open(kind, value)
            if evidence is None:
                continue
            if evidence.add(failed) >= self._least:
                self._hot[kind, value] = evidence
                could_alarm = True
            elif self._hot:
                self._hot.pop((kind, value), None)
        return self._alarm() if could_alarm else ()

    def statistic(self, stream: Stream) -> float:
        """Return the evidence of a stream since its last restart.

        Raises:
            NotFoundError: the stream is not open.
        """
        return self._found(stream).statistic

    def reference_rate(self, stream: Stream) -> float | None:
        """Return the error rate that is normal in a stream; None while it is learnt for the first time.

        Raises:
            NotFoundError: the stream is not open.
        """
        return self._found(stream).reference_rate

    def rebase(self, stream: Stream, reference_rate: float | None = None) -> None:
        """Take another level of a stream as normal from now on.

        Args:
            stream: which one.
            reference_rate: the new reference in (0, 1); None: learn it from the events that follow.

        Raises:
            NotFoundError: the stream is not open.
            ConfigError: the rate lies outside (0, 1).
        """
        self._found(stream).rebase(reference_rate)
        self._hot.pop((stream.kind, stream.value), None)

    def state(self) -> dict[str, Any]:
        """Return all that the future depends on, as plain JSON values."""
        return {
            "version": _STATE_VERSION,
            "settings": [list(self._kinds), self._least],
            "num_events": self._num_events,
            "num_not_watched": self._num_not_watched,
            "streams": [
                [kind, value, evidence.state()]
                for kind, group in self._groups.items()
                for value, evidence in group.items()
            ],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a state; references and ``max_streams`` stay those of this monitor.

        Raises:
            DataError: the state is malformed, or was written with other settings; nothing has changed then.
        """
        check_state(state, self.state(), what="monitor")
        restored: dict[str, dict[str, RiseEvidence]] = {kind: {} for kind in self._groups}
        try:
            counts = int(state["num_events"]), int(state["num_not_watched"])
            for kind, value, inner in state["streams"]:
                evidence = RiseEvidence(None, **self._settings)
                evidence.restore(inner)
                restored[kind][str(value)] = evidence
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"the state is malformed: {error!r}", hint="replay the stored outcomes") from error
        self._groups, self._num_open = restored, sum(len(group) for group in restored.values())
        every = {(kind, value): e for kind, group in restored.items() for value, e in group.items()}
        self._hot = {name: e for name, e in every.items() if e.statistic >= self._least}
        self._num_events, self._num_not_watched = counts

    def _open(self, kind: str, value: str) -> RiseEvidence | None:
        if self._num_open >= self._max_streams:
            self._num_not_watched += 1
            return None
        evidence = RiseEvidence(self._references.get(Stream(kind, value)), **self._settings)
        self._groups[kind][value] = evidence
        self._num_open += 1
        return evidence

    def _found(self, stream: Stream) -> RiseEvidence:
        evidence = self._groups.get(stream.kind, {}).get(stream.value)
        if evidence is None:
            raise NotFoundError(
                f"no stream {stream.kind} {stream.value!r} is open", hint="see 'streams' for those that are"
            )
        return evidence

    def _alarm(self) -> tuple[Alarm, ...]:
        hot = list(self._hot.items())
        selected = [hot[k] for k in e_bh([e.statistic for _, e in hot], level=self._level, least=self._least)]
        threshold = max(self._level / max(len(selected), 1), self._least)
        alarms = []
        for name, evidence in selected:
            rise, reference = evidence.rise_start(), evidence.reference_rate
            # Evidence needs a reference and at least one failure since the restart.
            if rise is not None and reference is not None:
                alarms.append(
                    Alarm(
                        stream=Stream(*name),
                        at_event=self._num_events,
                        at_stream_event=evidence.num_events,
                        statistic=evidence.statistic,
                        threshold=threshold,
                        reference_rate=reference,
                        recent_rate=rise.rate,
                        recent_n=rise.num_events,
                        started_at_estimate=rise.event,
                    )
                )
            evidence.restart()
            del self._hot[name]
        return tuple(alarms)
