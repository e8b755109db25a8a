"""Files that somebody else serves: a folder or a web address, read under caps and believed by nobody.

Registries and logs are plain files, so any folder, web server or Hub repository can carry them. What is read here is
only bytes; signatures and hashes are the reader's business.

Rules:
    1. ``https``, or ``http`` on loopback; the same for every redirect, of which there are at most five.
    2. Every read has a cap in bytes and a deadline for the whole answer, so that neither endless nor dripping data
       hold us up.
    3. A token goes to the address that it was given for, never to where that redirects.
    4. 403, 404 and 410 say that there is no such file; 408, 429 and 5xx are tried again, within the deadline.

Example:
    >>> HttpFiles("http://example.org/registry")
    Traceback (most recent call last):
    ...
    symbio_lab.errors.ConfigError: 'http://example.org/registry' is neither https nor on loopback
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote, urljoin, urlsplit

from symbio_lab.errors import (
    ConfigError,
    MissingExtraError,
    NetworkUnavailableError,
    NotFoundError,
    StorageError,
    TrustError,
)
from symbio_lab.trust.folder_reading import read_file
from symbio_lab.trust.naming import check_file_name

MAX_FILE_BYTES = 64 << 20
DEADLINE_S = 60.0
TIMEOUT_S = 10.0
MAX_REDIRECTS = 5
MAX_TRIES = 4
_CHUNK_BYTES = 64 << 10
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_ABSENT = {403, 404, 410}
_AGAIN = {408, 429, 500, 502, 503, 504}
_REDIRECT = {301, 302, 303, 307, 308}
_NETWORK_HINT = "check the address and the network, then run it again"


@runtime_checkable
class StaticFiles(Protocol):
    """Where the files of a registry or a log lie."""

    @property
    def uri(self) -> str:
        """Address, for messages and for telling two places apart."""

    def stream(self, name: str) -> Iterator[bytes]:
        """Return the bytes of a file in pieces, unverified; the caller stops at its cap.

        Raises:
            NotFoundError: there is no such file.
            TrustError: ``unsafe_name``, ``bad_response`` or ``too_large``.
            StorageError: it cannot be read.
            NetworkUnavailableError: the server does not answer.
        """


def read_static(files: StaticFiles, name: str, max_bytes: int) -> bytes:
    """Return the bytes of a file of at most ``max_bytes``.

    Raises:
        NotFoundError: there is no such file.
        TrustError: ``bad_response``: it is longer; or as ``StaticFiles.stream``.
        StorageError: it cannot be read.
        NetworkUnavailableError: the server does not answer.
    """
    pieces, num_bytes = [], 0
    for piece in files.stream(name):
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise TrustError("bad_response", f"{name} has more than {max_bytes} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def below(files: StaticFiles, folder: str) -> StaticFiles:
    """Return the files of one folder of ``files``."""
    return _Below(files, folder)


class FolderFiles:
    """Files in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @property
    def uri(self) -> str:
        """``file://`` and the folder as given."""
        return "file://" + self.path.as_posix()

    def stream(self, name: str) -> Iterator[bytes]:
        """Return the bytes of a file in one piece; see ``StaticFiles.stream``."""
        try:
            return iter((read_file(self.path, name, MAX_FILE_BYTES),))
        except TrustError as error:
            if error.code == "missing_file":
                raise NotFoundError(f"there is no {name} in {self.uri}", hint="check the address") from error
            raise
        except StorageError as error:
            # A file where a folder should be: as absent as any other.
            if isinstance(error.__cause__, NotADirectoryError):
                raise NotFoundError(f"there is no {name} in {self.uri}", hint="check the address") from error
            raise


class HttpFiles:
    """Files below a web address, for instance ``https://huggingface.co/owner/name/resolve/main``."""

    def __init__(
        self, base_url: str, token: str | None = None, *, timeout_s: float = TIMEOUT_S, deadline_s: float = DEADLINE_S
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            base_url: address to which ``/`` and the name of a file are added.
            token: bearer token for that address alone.
            timeout_s: longest wait for a connection and between two pieces, in seconds.
            deadline_s: longest time for one file, retries included, in seconds.

        Raises:
            ConfigError: the address is neither https nor on loopback.
        """
        if not _is_allowed(base_url):
            raise ConfigError([f"{base_url!r:.120} is neither https nor on loopback"], hint="give an https address")
        self.base_url = base_url.rstrip("/")
        self.timeout_s, self.deadline_s = timeout_s, deadline_s
        self._token = token
        self._pools: dict[str, Any] = {}

    @property
    def uri(self) -> str:
        """The base address."""
        return self.base_url

    def __repr__(self) -> str:
        """Return the address; the token stays secret."""
        return f"HttpFiles({self.base_url!r})"

    def stream(self, name: str) -> Iterator[bytes]:
        """Return the bytes of a file as they arrive; see ``StaticFiles.stream``."""
        url = f"{self.base_url}/{quote(check_file_name(name))}"
        return _pieces(*self._open(url, name))

    def _open(self, url: str, name: str) -> tuple[Any, float, str]:
        """Return the open answer to a GET, after redirects and retries, and the time by which it must end."""
        end = time.monotonic() + self.deadline_s
        tries = redirects = 0
        while True:
            response = self._request(url, name, end)
            if response is not None and response.status == 200:
                return response, end, name
            status = 0 if response is None else response.status
            headers = {} if response is None else response.headers
            if response is not None:
                response.drain_conn() if status in _AGAIN | _REDIRECT else response.close()
            if status in _REDIRECT:
                redirects += 1
                url = urljoin(url, headers.get("location", ""))
                if redirects > MAX_REDIRECTS or not _is_allowed(url):
                    raise TrustError("bad_response", f"{name}: the server redirects too often or to an unsafe address")
                continue
            if status in _ABSENT:
                raise NotFoundError(f"there is no {name} at {self.base_url}", hint="check the address")
            if status == 401:
                raise ConfigError([f"{self.base_url} asks who reads it, or does not exist"], hint="set HF_TOKEN")
            if status and status not in _AGAIN:
                raise TrustError("bad_response", f"{name}: the server answers {status}")
            tries += 1
            wait = _wait_s(headers.get("retry-after"), tries)
            if tries >= MAX_TRIES or time.monotonic() + wait > end:
                what = f"answers {status}" if status else "does not answer"
                raise NetworkUnavailableError(f"{self.base_url} {what}", hint=_NETWORK_HINT)
            time.sleep(wait)

    def _request(self, url: str, name: str, end: float) -> Any:
        """Return the answer to one GET, or None when there was none."""
        urllib3 = _urllib3()
        left = end - time.monotonic()
        if left <= 0:
            raise NetworkUnavailableError(f"{name}: no answer within {self.deadline_s:g} s", hint=_NETWORK_HINT)
        headers = {"User-Agent": "symbio-lab", "Accept-Encoding": "identity"}
        if self._token and _origin(url) == _origin(self.base_url):
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            return self._pool(urllib3, url).request(
                "GET",
                url,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(min(self.timeout_s, left)),
            )
        except urllib3.exceptions.HTTPError:
            return None

    def _pool(self, urllib3: Any, url: str) -> Any:
        """Return the connections for an address, through the proxy of the environment where one is set."""
        from urllib.request import getproxies, proxy_bypass

        parts = urlsplit(url)
        proxy = None
        if parts.hostname not in _LOOPBACK and not proxy_bypass(parts.hostname or ""):
            proxy = getproxies().get(parts.scheme)
        if (proxy or "") not in self._pools:
            self._pools[proxy or ""] = urllib3.ProxyManager(proxy) if proxy else urllib3.PoolManager()
        return self._pools[proxy or ""]


class _Below:
    """One folder of other files."""

    def __init__(self, files: StaticFiles, folder: str) -> None:
        self._files, self._folder = files, folder

    @property
    def uri(self) -> str:
        return f"{self._files.uri}/{self._folder}"

    def stream(self, name: str) -> Iterator[bytes]:
        return self._files.stream(f"{self._folder}/{name}")


def _pieces(response: Any, end: float, name: str) -> Iterator[bytes]:
    urllib3 = _urllib3()
    try:
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise TrustError("bad_response", f"{name}: the server packs its answer ({encoding:.20}) unasked")
        stated = response.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > MAX_FILE_BYTES:
            raise TrustError("too_large", f"{name} has {stated} bytes, more than {MAX_FILE_BYTES}")
        for piece in response.stream(_CHUNK_BYTES, decode_content=False):
            if time.monotonic() > end:
                raise NetworkUnavailableError(f"{name}: the answer takes too long", hint=_NETWORK_HINT)
            yield piece
        response.release_conn()
    except urllib3.exceptions.HTTPError as error:
        raise NetworkUnavailableError(f"{name}: the answer broke off", hint=_NETWORK_HINT) from error
    finally:
        # A stream that was not read to its end cannot be used for the next request.
        if not response.isclosed():
            response.close()


def _wait_s(retry_after: str | None, tries: int) -> float:
    stated = float(retry_after) if retry_after and retry_after.isdecimal() and len(retry_after) < 6 else 0.0
    return max(stated, 0.1 * 2**tries)


def _is_allowed(url: str) -> bool:
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    )


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _urllib3() -> Any:
    try:
        import urllib3
    except ImportError as error:
        raise MissingExtraError("urllib3", "registry") from error
    return urllib3
