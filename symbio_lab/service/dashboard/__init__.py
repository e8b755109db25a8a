"""The dashboard: one HTML page that reads the API as any other client does, with the key that is typed into it.

Rules:
    1. The page is one file: no framework, no request but to the API it came from.
    2. What the API says is inserted as text. The policy sent with the page lets nothing run but the page's own script,
       named by its digest, and lets nothing be parsed as markup (Trusted Types).
    3. The key stays in the page's memory: not in storage, not in an address, not in a cookie.

References:
    W3C (2026), "Content Security Policy Level 3", sections 6.1 and 8.3 (digests of inline scripts).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class DashboardPage:
    """The page and the headers to send with it."""

    html: str
    headers: dict[str, str]


@cache
def dashboard_page(*, local: bool) -> DashboardPage:
    """Return the page.

    Args:
        local: whether no key is asked for.
    """
    html = (files(__name__) / "index.html").read_text(encoding="utf-8")
    if local:
        html = html.replace('data-keys="asked"', 'data-keys="none"', 1)
    policy = [
        "default-src 'none'",
        f"script-src {_digests(html, 'script')}",
        f"style-src {_digests(html, 'style')}",
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    headers = {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
    return DashboardPage(html, headers)


def _digests(html: str, tag: str) -> str:
    """Return the sources that allow exactly the inline elements of one kind."""
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, flags=re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)
