"""The dashboard's page. It shows nothing by itself: its script asks the API with the key that is typed into it."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from symbio_lab.service.dashboard import dashboard_page
from symbio_lab.service.state import state_of

router = APIRouter(include_in_schema=False)


@router.get("/dashboard")
def dashboard(request: Request) -> HTMLResponse:
    """Return the page."""
    page = dashboard_page(local=state_of(request).service.local)
    return HTMLResponse(page.html, headers=page.headers)
