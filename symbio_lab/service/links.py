"""Where an answer leads: OpenAPI links from reports to health, from jobs to their end, from deployments back.

Clients and fuzzers follow them; each entry is checked against the document when the app describes itself.

References:
    OpenAPI Initiative (2024), "OpenAPI Specification 3.1.1", section 4.8.20 (Link Object).
"""

from __future__ import annotations

from typing import Any

_JOB = {"job_id": "$response.body#/job_id"}
LINKS: tuple[tuple[str, str, str, str, str, dict[str, str], str | None], ...] = (
    # method, path, status -> method, path, parameters, body
    (
        "post",
        "/failures/report",
        "201",
        "get",
        "/models/{model_id}/health",
        {"model_id": "$request.body#/model_id"},
        None,
    ),
    ("post", "/healing/marketplace-integrated", "202", "get", "/jobs/{job_id}", _JOB, None),
    ("post", "/healing/marketplace-integrated", "202", "post", "/jobs/{job_id}/cancel", _JOB, None),
    ("post", "/surgery", "202", "get", "/jobs/{job_id}", _JOB, None),
    ("post", "/surgery", "202", "post", "/jobs/{job_id}/cancel", _JOB, None),
    ("post", "/jobs/{job_id}/cancel", "202", "get", "/jobs/{job_id}", _JOB, None),
    ("post", "/deployments/promote", "201", "post", "/deployments/rollback", {}, "model_id"),
    ("post", "/keys", "201", "delete", "/keys/{key_id}", {"key_id": "$response.body#/key_id"}, None),
)


def add_links(document: dict[str, Any]) -> None:
    """Put the links into an OpenAPI document.

    Raises:
        KeyError: a link names a route that is not in the document.
    """
    paths = document["paths"]
    for method, path, status, to_method, to_path, parameters, body in LINKS:
        target = paths[_as_in(paths, to_path)][to_method]
        link: dict[str, Any] = {"operationId": target["operationId"], "parameters": dict(parameters)}
        if body is not None:
            link["requestBody"] = {body: f"$response.body#/{body}"}
        answer = paths[_as_in(paths, path)][method]["responses"][status]
        answer.setdefault("links", {})[target["operationId"]] = link


def _as_in(paths: dict[str, Any], path: str) -> str:
    return path if path in paths else path.replace("}", ":path}")
