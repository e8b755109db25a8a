"""The part of a healing bench's controls that names a user's model and table."""

from __future__ import annotations

import ipywidgets

from symbio_lab.comparison.own_data import OwnData
from symbio_lab.widgets.own_run import OwnModel
from symbio_lab.widgets.panel import flow, labelled

_FIELDS = {
    "model": ("Model", "folder or Hub id"),
    "data": ("Table", "CSV, JSONL or Parquet file, or a Hub dataset"),
    "text": ("Input column", "text"),
    "label": ("Gold column", "label"),
    "slice": ("What fails", "COLUMN=VALUE"),
    "train": ("Training table", "optional: replay"),
    "market": ("Search in", "optional: folder or hf://OWNER"),
}


class OwnControls:
    """Text fields; their values are the state."""

    def __init__(self, own: OwnModel | None) -> None:
        """Make the fields with the values of ``own``."""
        data = own.data if own is not None else OwnData("")
        values = {
            "model": own.model if own is not None else "",
            "data": data.data,
            "text": data.text_field,
            "label": data.label_field,
            "slice": data.slice or "",
            "train": data.train or "",
            "market": own.market if own is not None else "",
        }
        self._data = data
        self.fields = {
            name: labelled(
                ipywidgets.Text(
                    value=values[name],
                    placeholder=placeholder,
                    description=words,
                    continuous_update=False,
                    layout=ipywidgets.Layout(width="22rem"),
                ),
                f"own-{name}",
            )
            for name, (words, placeholder) in _FIELDS.items()
        }
        self.box = ipywidgets.Box(tuple(self.fields.values()), layout=flow())
        self.box.add_class("sl-own")

    @property
    def value(self) -> OwnModel:
        """What the fields say.

        Raises:
            ConfigError: what is missing, all at once.
        """
        said = {name: field.value.strip() for name, field in self.fields.items()}
        data = OwnData(
            said["data"],
            said["text"] or "text",
            said["label"] or "label",
            slice=said["slice"] or None,
            group_field=self._data.group_field,
            train=said["train"] or None,
            max_rows=self._data.max_rows,
        )
        own = OwnModel(said["model"], data, said["market"])
        own.check()
        return own
