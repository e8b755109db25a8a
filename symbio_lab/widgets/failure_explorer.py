"""The failure explorer: what a model answered, what of it failed, and what fails together.

Table, map and patterns choose the same rows: whatever is chosen in one is shown in the others. The choice becomes a
``FailureSuite`` whose healer's and judge's halves never overlap.

Example::

    explorer = FailureExplorer.of_store("production-model-v1", tenant="acme")
    explorer.study()                       # embeddings and patterns, in a process of its own
    suite = explorer.make_suite("refunds") # of the chosen rows
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np

from symbio_lab.codec import read_json, write_json
from symbio_lab.config import load_settings
from symbio_lab.display.bundles import Bundle
from symbio_lab.display.prose import esc, prose, stack
from symbio_lab.display.table import Column, table
from symbio_lab.errors import DataError, EmptySliceError
from symbio_lab.monitor.traffic import Traffic, traffic_of
from symbio_lab.records import PredictionRecord, TaskType
from symbio_lab.widgets.child import Child, Ended
from symbio_lab.widgets.explorer_rows import (
    PATTERN_COLUMNS,
    ROW_COLUMNS,
    headline,
    pattern_rows,
    stream_html,
    traffic_row,
)
from symbio_lab.widgets.panel import WorkingPanel, button, flow, labelled
from symbio_lab.widgets.traffic_study import Found, embeddings_of, found_from, study_folder
from symbio_lab.widgets.views.scatter import MAX_GROUPS, ScatterView
from symbio_lab.widgets.views.table import TableView

NUM_TWIN_ROWS = 20
"""Rows of the static twin."""
ALL = "all"
OTHER = "other"


class FailureExplorer(WorkingPanel):
    """Look at failures, find what they share, draw an incident."""

    def __init__(
        self,
        traffic: Traffic,
        *,
        model_id: str = "",
        tenant: str = "default",
        task_type: TaskType = "text_classification",
        labels: Sequence[str] = (),
        alarms: Mapping[str, int] | None = None,
        out: str | Path | None = None,
    ) -> None:
        """Show some traffic; nothing is computed but counts.

        Args:
            traffic: N answers, in the order in which they were observed.
            model_id: whose answers these are, for the call that is shown.
            tenant: as above.
            task_type: of the model.
            labels: labels that the model has; empty takes those that it answered with.
            alarms: words -> row at which it happened, drawn into the stream.
            out: folder that keeps embeddings and tags; None takes ``explorer/`` in the state folder.
        """
        self.traffic, self.model_name, self.tenant = traffic, model_id, tenant
        self.task_type, self.labels = task_type, tuple(labels)
        self.alarms = dict(alarms or {})
        self.found: tuple[Found, ...] = ()
        self._root = Path(out) if out is not None else load_settings().settings.home / "explorer"
        self._folder = study_folder(self._root, traffic)
        self.tags: dict[str, list[str]] = self._kept_tags()
        self._low = [text.casefold() for text in traffic.texts]
        self._rows = [traffic_row(traffic, i, self.tags) for i in range(len(traffic))]
        self._shown: list[int] = []
        self._on_map: list[int] = []
        self._is_choosing = False
        domains = sorted({d for d in traffic.domains if d})
        self.query = labelled(ipywidgets.Text(placeholder="words in the input", description="Find"), "find")
        self.query.continuous_update = True
        self.domain = labelled(ipywidgets.Dropdown(options=[ALL, *domains], description="Domain"), "domain")
        self.only_failures = labelled(
            ipywidgets.Checkbox(value=True, description="failures only", indent=False), "only"
        )
        self.study_button = button("Find patterns", "study", self.study, kind="primary")
        self.cancel_button = button("Cancel", "cancel", self.cancel)
        self.tag = labelled(ipywidgets.Text(placeholder="tag", description="Tag chosen"), "tag")
        self.tag_button = button("Tag", "tag-button", lambda: self.tag_chosen(self.tag.value))
        self.stream = ipywidgets.HTML(stream_html(traffic, self.alarms))
        self.patterns = TableView(
            PATTERN_COLUMNS, caption="What fails more often than the rest", empty="not looked for yet"
        )
        self.patterns.add_class("sl-patterns")
        self.map = ScatterView("failures by meaning")
        self.map.add_class("sl-map")
        self.rows = TableView(ROW_COLUMNS, caption="", empty="nothing matches", multiple=True)
        self.rows.add_class("sl-rows")
        lines = flow()
        super().__init__(
            f"Failures of {model_id}" if model_id else "Failures",
            [
                self.stream,
                ipywidgets.Box((self.study_button, self.cancel_button), layout=lines),
                self.patterns,
                self.map,
                ipywidgets.Box((self.query, self.domain, self.only_failures), layout=lines),
                self.rows,
                ipywidgets.Box((self.tag, self.tag_button), layout=lines),
            ],
            name="failure-explorer",
        )
        for control in (self.query, self.domain, self.only_failures):
            control.observe(lambda _: self._filter(), "value")
        self.patterns.observe(lambda _: self._choose_pattern(), "chosen")
        self.map.observe(lambda _: self._choose_on_map(), "chosen")
        self.rows.observe(lambda _: self._choose_rows(), "chosen")
        self.cancel_button.disabled = True
        self._filter()
        self.refresh_code()

    @classmethod
    def of_records(cls, records: Iterable[PredictionRecord], **settings: Any) -> FailureExplorer:
        """Return an explorer of prediction records of one model.

        Raises:
            DataError: they are of several models or tenants.
        """
        return cls(traffic_of(records), **settings)

    @classmethod
    def of_store(
        cls, model_id: str, *, tenant: str = "default", num_rows: int = 20_000, **settings: Any
    ) -> FailureExplorer:
        """Return an explorer of the newest answers in this installation's store.

        Raises:
            StorageError: the store cannot be read.
        """
        from symbio_lab.monitor.stored_traffic import recent_traffic
        from symbio_lab.store import open_store
        from symbio_lab.store.prediction_reading import PredictionReader

        reader = PredictionReader(open_store(load_settings().settings.store), tenant, model_id)
        traffic, _ = recent_traffic(reader, num_rows=num_rows)
        return cls(traffic, model_id=model_id, tenant=tenant, **settings)

    @property
    def chosen(self) -> tuple[int, ...]:
        """Numbers of the chosen rows of the traffic, ascending."""
        return tuple(sorted(int(row_id) for row_id in self.rows.chosen))

    def study(self, seed: int = 0) -> None:
        """Embed the texts, lay them into a plane and look for patterns, in a process of its own."""
        if self.is_working:
            return
        self.child = Child(
            "symbio_lab.widgets.traffic_study:study_traffic",
            {"folder": str(self._folder), "seed": seed},
            on_event=self._on_event,
            on_end=self._after_study,
        )
        self.study_button.disabled, self.cancel_button.disabled = True, False
        self.status.say("looking for patterns ...")
        self.child.start()

    def choose(self, rows: Iterable[int]) -> None:
        """Choose rows of the traffic by number, in all views."""
        wanted = sorted(set(rows))
        self._is_choosing = True
        try:
            shown = set(self._shown)
            self.rows.chosen = [str(i) for i in wanted if i in shown]
            place = {row: number for number, row in enumerate(self._on_map)}
            self.map.chosen = [place[i] for i in wanted if i in place]
        finally:
            self._is_choosing = False
        self._say_chosen()

    def tag_chosen(self, tag: str) -> None:
        """Put a tag on the chosen rows; a second time takes it off. Tags are kept in ``out``."""
        name = tag.strip()
        rows = self.chosen
        if not name or not rows:
            self.status.say("choose rows and name a tag first", "bad")
            return
        ids = [self.traffic.ids[i] for i in rows]
        off = all(name in self.tags.get(i, []) for i in ids)
        for i in ids:
            kept = [t for t in self.tags.get(i, []) if t != name]
            self.tags[i] = kept if off else [*kept, name]
        self.tags = {i: names for i, names in self.tags.items() if names}
        for row in rows:
            self._rows[row] = traffic_row(self.traffic, row, self.tags)
        self.guarded(lambda: write_json(self._folder / "tags.json", self.tags))
        self._filter()
        self.status.say(f"tag {name!r} {'taken off' if off else 'put on'} {len(ids)} rows", "good")

    def make_suite(self, domain: str, rows: Sequence[int] | None = None) -> Any:
        """Return the incident of the chosen rows: ``Extraction`` with its suite and what the gate still lacks.

        Args:
            domain: name of the slice.
            rows: numbers of traffic rows; None takes those chosen.

        Raises:
            DataError: the texts were not embedded yet.
            EmptySliceError: fewer than four failures are chosen, or nothing is left outside.
        """
        from symbio_lab.monitor.extraction import extract_suite

        inside = np.zeros(len(self.traffic), dtype=np.bool_)
        inside[list(self.chosen if rows is None else rows)] = True
        vectors = embeddings_of(self._folder, len(self.traffic))
        if vectors is None:
            raise DataError("the texts were not embedded yet", hint="click Find patterns, or call study()")
        if not inside.any():
            raise EmptySliceError("no row is chosen", hint="choose rows in the table, on the map or by a pattern")
        failed = [str(self.traffic.texts[i]) for i in np.flatnonzero(inside & self.traffic.failed)]
        return extract_suite(
            self.traffic,
            inside,
            vectors,
            task_type=self.task_type,
            labels=self.labels or tuple(sorted(set(self.traffic.actual))),
            domain=domain,
            description=f"{domain}: " + "; ".join(failed[:3]),
        )

    def code(self) -> str:
        """Return the call that opens this explorer and draws the incident."""
        source = (
            f"explorer = FailureExplorer.of_store({self.model_name!r}, tenant={self.tenant!r})"
            if self.model_name
            else "explorer = FailureExplorer.of_records(records)"
        )
        lines = [
            "from symbio_lab.widgets import FailureExplorer",
            "",
            source,
            "explorer.study()",
            "explorer.child.wait()",
        ]
        if self.chosen:
            lines.append(f"extraction = explorer.make_suite('my slice', rows={list(self.chosen)!r:.2000})")
        return "\n".join(lines)

    def twin(self) -> Bundle:
        """Return counts, patterns and the first failures."""
        parts = [prose(esc(headline(self.traffic)))]
        if self.found:
            columns = [Column(c.title, c.number) for c in PATTERN_COLUMNS]
            parts.append(table(columns, [list(row.cells) for row in pattern_rows(self.found)], self.patterns.caption))
        columns = [Column(c.title, c.number) for c in ROW_COLUMNS]
        rows = [list(self._rows[i].cells) for i in self._shown[:NUM_TWIN_ROWS]]
        more = f"; {NUM_TWIN_ROWS} of {len(self._shown):,} are shown" if len(self._shown) > NUM_TWIN_ROWS else ""
        parts.append(table(columns, rows, f"{self.rows.caption}{more}"))
        return stack(*parts)

    def _filter(self) -> None:
        words = self.query.value.casefold().split()
        domain = self.domain.value
        keep = self.traffic.failed if self.only_failures.value else np.ones(len(self.traffic), dtype=np.bool_)
        self._shown = [
            int(i)
            for i in np.flatnonzero(keep)
            if (domain == ALL or self.traffic.domains[i] == domain) and all(word in self._low[i] for word in words)
        ]
        what = "failures" if self.only_failures.value else "answers"
        self.rows.show([self._rows[i] for i in self._shown], f"{len(self._shown):,} {what}")

    def _on_event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "BuildProgress":
            self.status.say(f"building {event['what']}: {event['done']:,} of {event['total']:,}")

    def _after_study(self, ended: Ended) -> None:
        self.study_button.disabled, self.cancel_button.disabled = False, True
        if ended.status != "finished":
            self.say_failed(ended)
            return
        self.found = tuple(found_from(fields) for fields in ended.result["patterns"])
        confirmed = sum(one.confirmed for one in self.found)
        self.patterns.show(pattern_rows(self.found))
        self._draw_map(np.asarray(ended.result["plane"]))
        self.status.say(f"{confirmed} patterns confirmed on withheld rows, {len(self.found) - confirmed} not", "good")

    def _draw_map(self, plane: Any) -> None:
        """Show the failures, grouped by the strongest pattern that they lie in."""
        self._on_map = [int(i) for i in np.flatnonzero(self.traffic.failed)]
        best = [one for one in self.found if one.confirmed and not one.symptom][: MAX_GROUPS - 1]
        group = dict.fromkeys(self._on_map, len(best))
        for number in reversed(range(len(best))):
            group.update((row, number) for row in best[number].rows if row in group)
        titles = [*(one.description for one in best), OTHER if best else "failures"]
        self.map.show(plane[self._on_map], [group[i] for i in self._on_map], titles)

    def _choose_pattern(self) -> None:
        if self._is_choosing or not self.patterns.chosen:
            return
        one = self.found[int(self.patterns.chosen[-1])]
        self.choose(i for i in one.rows if self.traffic.failed[i])

    def _choose_on_map(self) -> None:
        if not self._is_choosing:
            self.choose(self._on_map[number] for number in self.map.chosen)

    def _choose_rows(self) -> None:
        if not self._is_choosing:
            self.choose(int(row_id) for row_id in self.rows.chosen)

    def _say_chosen(self) -> None:
        rows = self.chosen
        self.refresh_code()
        if rows:
            wrong = int(self.traffic.failed[list(rows)].sum())
            self.status.say(f"{len(rows):,} rows chosen, {wrong:,} of them failures")
        else:
            self.status.say("nothing chosen")

    def _kept_tags(self) -> dict[str, list[str]]:
        path = self._folder / "tags.json"
        return {str(i): list(names) for i, names in read_json(path).items()} if path.is_file() else {}
