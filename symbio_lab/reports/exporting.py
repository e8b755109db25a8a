"""An executed notebook as one self-contained page: no script, no request, light and dark, readable on a phone."""

from __future__ import annotations

import html
from importlib import resources
from pathlib import Path
from typing import Any

from symbio_lab.codec import write_atomic
from symbio_lab.errors import DataError

MOST_BYTES = 2_000_000
"""A report is sent by mail: it must stay below this."""
TEMPLATE = """
{%- extends 'classic/base.html.j2' -%}
{%- block input_group -%}{%- endblock input_group -%}
{%- block in_prompt -%}{%- endblock in_prompt -%}
{%- block stream_stderr -%}{%- endblock stream_stderr -%}
{%- block output_prompt -%}{%- endblock output_prompt -%}
{%- block output_area_prompt -%}{%- endblock output_area_prompt -%}
"""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}
</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def export_html(notebook: Path, page: Path, *, title: str) -> Path:
    """Write a notebook's text and outputs as a page; its code stays in the notebook.

    Args:
        notebook: executed.
        page: where the page goes.
        title: of the page.

    Returns:
        ``page``.

    Raises:
        DataError: the notebook cannot be read, or the page would exceed ``MOST_BYTES``.
        StorageError: the page cannot be written.
    """
    from nbconvert import HTMLExporter

    node = _read(notebook)
    _without_widgets(node)
    for number, cell in enumerate(node.cells):
        # The cell that papermill injects has a random id; equal results are equal pages.
        cell["id"] = f"cell-{number}"
    exporter = HTMLExporter(
        template_name="classic",
        raw_template=TEMPLATE,
        embed_images=True,
        anchor_link_text="",
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        widget_renderer_url="",
    )
    body, _ = exporter.from_notebook_node(node)
    return write_page(page, title, body)


def title_of(notebook: Path) -> str:
    """Return a notebook's first heading, or its file name.

    Raises:
        DataError: the notebook cannot be read.
    """
    cells = _read(notebook).cells
    lines = (line for cell in cells if cell.cell_type == "markdown" for line in cell.source.splitlines())
    return next((line.lstrip("# ") for line in lines if line.startswith("# ")), notebook.stem)


def write_page(page: Path, title: str, body: str) -> Path:
    """Write a body of HTML as a page with the report's style.

    Raises:
        DataError: the page would exceed ``MOST_BYTES``.
        StorageError: the page cannot be written.
    """
    style = resources.files("symbio_lab.reports").joinpath("report.css").read_text(encoding="utf-8")
    data = PAGE.format(title=html.escape(title), style=style, body=body).encode()
    if len(data) > MOST_BYTES:
        raise DataError(
            f"the report would have {len(data):,} bytes, more than {MOST_BYTES:,}",
            hint="compare fewer seeds at once, or read the executed notebook instead",
        )
    write_atomic(page, data)
    return page


def _without_widgets(node: Any) -> None:
    """Drop live widgets where a static twin exists, and the state that only scripts can show."""
    node.metadata.pop("widgets", None)
    live = "application/vnd.jupyter.widget-view+json"
    for cell in node.cells:
        for output in cell.get("outputs", ()):
            if live in output.get("data", {}) and len(output["data"]) > 1:
                del output["data"][live]


def _read(notebook: Path) -> Any:
    import nbformat

    try:
        return nbformat.read(notebook, as_version=4)
    except (OSError, ValueError) as error:
        raise DataError(f"{notebook.name} is no readable notebook: {error}") from error
