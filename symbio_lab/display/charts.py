"""Figures as data: a Vega-Lite specification, the image that it gives, and what it says in words.

Rules:
    1. The specification goes out as ``application/vnd.vegalite.v5+json``, which JupyterLab shows without trust and
       without a request; the image is drawn from the same specification, for pages and for papers.
    2. Nothing is fetched: data stand in the specification.

Example::

    chart_bundle({"data": {"values": [{"x": 1}]}, "mark": "point", "encoding": {...}}, "One point at 1.")
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from symbio_lab.display.bundles import Bundle
from symbio_lab.display.palette import BLUE, GREEN, GREY, INK, LIGHT, ORANGE, PURPLE, SKY, VERMILION

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
"""Names the format; nobody opens the address."""
MIME = "application/vnd.vegalite.v5+json"
_DRAWN_WITH = "5.21"
"""Vega-Lite that draws the image."""
SCALE = 1.6
"""Pixels of the image for each pixel of the figure."""
ARM_MARKS: Mapping[str, tuple[str, str, list[int]]] = {
    "best_single": (BLUE, "circle", [1, 0]),
    "surgery_only": (VERMILION, "square", [1, 0]),
    "marketplace_first": (GREEN, "diamond", [6, 3]),
    "null_pool": (GREY, "triangle-up", [2, 2]),
    "random_k": (SKY, "triangle-right", [2, 2]),
    "oracle_best": (PURPLE, "triangle-down", [8, 2, 2, 2]),
    "surgery_donor_data": (PURPLE, "triangle-left", [8, 2, 2, 2]),
    "noop": (INK, "stroke", [1, 3]),
    "prototype_rows": (ORANGE, "cross", [4, 2]),
    "head_retrain": (ORANGE, "triangle-left", [4, 2]),
    "lora": ("#a3480a", "triangle-down", [4, 2]),
    "lora_replay": ("#a3480a", "circle", [4, 2]),
}
"""Arm -> (colour, shape, dashes): shape and dashes say the same as the colour."""
_OTHERS = ((PURPLE, "circle"), (SKY, "square"), (ORANGE, "diamond"), (GREEN, "triangle-up"))
CONFIG: Mapping[str, Any] = {
    "background": "white",
    "font": "DejaVu Sans",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK,
        "titleColor": INK,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "gridColor": LIGHT,
        "domainColor": GREY,
        "tickColor": GREY,
    },
    "header": {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal", "labelColor": INK},
    "legend": {"labelFontSize": 11, "titleFontSize": 11, "symbolSize": 90, "labelLimit": 320, "titleColor": INK},
    "title": {"fontSize": 12, "fontWeight": "normal", "anchor": "start", "color": INK},
}


def arm_scales(arms: list[str]) -> dict[str, dict[str, Any]]:
    """Return the scales of colour, shape and dashes for these arms, in this order."""
    marks = [ARM_MARKS.get(name, (*_OTHERS[number % len(_OTHERS)], [3, 3])) for number, name in enumerate(arms)]
    return {
        channel: {"domain": list(arms), "range": [mark[index] for mark in marks]}
        for index, channel in enumerate(("color", "shape", "strokeDash"))
    }


def chart_bundle(spec: Mapping[str, Any], alt: str) -> Bundle:
    """Return a specification as a figure.

    Args:
        spec: Vega-Lite, without ``$schema`` and ``config``; its data are values.
        alt: what the figure says, in words and figures.
    """
    import vl_convert

    full = {"$schema": SCHEMA, "config": dict(CONFIG), **spec}
    image = _packed(vl_convert.vegalite_to_png(full, vl_version=_DRAWN_WITH, scale=SCALE))
    width = int.from_bytes(image[16:20], "big")
    data = {MIME: full, "image/png": base64.b64encode(image).decode("ascii"), "text/plain": alt}
    return Bundle(data, {"image/png": {"alt": alt, "width": round(width / SCALE)}})


def _packed(image: bytes) -> bytes:
    """Return the same picture in a quarter of the bytes: a report with many figures must still fit into a mail."""
    from PIL import Image

    packed = io.BytesIO()
    # The background is opaque, so that nothing is lost with the transparency.
    Image.open(io.BytesIO(image)).convert("RGB").save(packed, "PNG", optimize=True)
    return packed.getvalue()
