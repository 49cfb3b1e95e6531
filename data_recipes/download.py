"""Fetch files over HTTP: resumed after a break, checked, and seen under their name only complete.

What has arrived of a file waits in ``NAME.part`` beside it and is continued by a range request, in
the same run or a later one.  The standard library does all of it; pooch, which is made for such
files, begins a broken download anew.
"""

import email.utils
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import astro_vq
from astro_vq.errors import ConfigError, DownloadError
from astro_vq.io.atomic import sync_folder

sleep = time.sleep
"""Waits between attempts and requests; tests put something faster here."""

_BLOCK = 1 << 16
_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_MISSING = {400, 404, 410, 422}  # services answer so for places that they do not cover


@dataclass(frozen=True)
class Policy:
    """How long to try.

    Attributes
    ----------
    attempts : int
        Requests of one file.
    first_wait_s : float
        Before the second attempt; doubled before each further one.
    longest_wait_s : float
        Bound of one wait; a server that asks for more ends the download with that message.
    timeout_s : float
        Without any byte, after which a connection counts as broken.
    stall_s, stall_bytes : float, int
        A connection that brings fewer than so many bytes in so many seconds is broken off.
    """

    attempts: int = 6
    first_wait_s: float = 1.0
    longest_wait_s: float = 120.0
    timeout_s: float = 30.0
    stall_s: float = 60.0
    stall_bytes: int = 30_000


POLICY = Policy()


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass; `wait_s` is what the server asks for."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


def download(
    url: str,
    path: Path,
    *,
    checksum: str = "",
    mirror: str = "",
    check: Callable[[Path], str] | None = None,
    policy: Policy = POLICY,
) -> str:
    """Fetch `url` into `path` unless it is there already.

    Parameters
    ----------
    url : str
        ``https://...``; plain http only at a `mirror`.
    path : Path
        File to write; a file that exists is kept when its checksum is right, or none is known.
    checksum : str
        ``sha256:HEX`` or ``md5:HEX`` as its publisher states it; empty when none is known.
    mirror : str
        Replaces ``https://host`` of the URL, such as ``http://localhost:8000``.
    check : callable, optional
        Looks at the complete file before it gets its name; returns what is wrong, or ''.
    policy : Policy
        How long to try.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.

    Raises
    ------
    DownloadError
        With the file, the URL, what happened, and what to do.
    ConfigError
        For a URL of another kind.
    """
    address = at_mirror(url, mirror)
    part = path.with_name(f"{path.name}.part")
    if path.exists() and (not checksum or hash_file(path, checksum) == checksum):
        return hash_file(path).removeprefix("sha256:")
    path.parent.mkdir(parents=True, exist_ok=True)
    wait = policy.first_wait_s
    last = ""
    for attempt in range(policy.attempts):
        try:
            _fetch(address, part, path, policy)
            _verify(part, checksum)
        except _TryAgainError as err:
            last = str(err)
            asked = wait if err.wait_s is None else err.wait_s
            if asked > policy.longest_wait_s:
                last = f"{last}, which asks to wait {asked:.0f} s"
                break
            if attempt + 1 < policy.attempts:
                sleep(asked)
                wait = min(2 * wait, policy.longest_wait_s)
            continue
        problem = check(part) if check is not None else ""
        if problem:
            part.unlink()
            raise DownloadError(
                f"{path}: {address} answered, but {problem}; look at the URL in a browser",
                is_missing=True,
            )
        digest = hash_file(part).removeprefix("sha256:")
        _validator(part).unlink(missing_ok=True)
        part.replace(path)
        sync_folder(path.parent)
        return digest
    kept = part.stat().st_size if part.exists() else 0
    raise DownloadError(
        f"{path}: could not fetch {address} in {attempt + 1} attempts: {last}; {kept} bytes are "
        "kept, and the same command goes on from there"
    )


def at_mirror(url: str, mirror: str) -> str:
    """Return the address to ask, on the mirror if there is one.

    Raises
    ------
    ConfigError
        When it is not https (or http, of a mirror).
    """
    parts = urlsplit(url)
    if mirror:
        rest = f"?{parts.query}" if parts.query else ""
        url = f"{mirror.rstrip('/')}{parts.path}{rest}"
    if urlsplit(url).scheme not in (("http", "https") if mirror else ("https",)):
        raise ConfigError(f"{url} does not begin with https://")
    return url


def refuse_downgrade(asked: str, answered: str) -> None:
    """Refuse an answer that came over plain http although https was asked.

    Raises
    ------
    DownloadError
        Naming both addresses.
    """
    if urlsplit(asked).scheme == "https" != urlsplit(answered).scheme:
        raise DownloadError(f"{asked} leads to {answered}, which is not https and was not read")


def hash_file(path: Path, like: str = "sha256:") -> str:
    """Return ``sha256:HEX`` of a file, or ``md5:HEX`` when `like` begins so."""
    name = like.partition(":")[0] or "sha256"
    with path.open("rb") as file:
        return f"{name}:{hashlib.file_digest(file, name).hexdigest()}"


def _verify(part: Path, checksum: str) -> None:
    found = hash_file(part, checksum)
    if checksum and found != checksum:
        part.unlink()
        raise _TryAgainError(f"the checksum is {found}, it should be {checksum}")


def _validator(part: Path) -> Path:
    """Return where the server's tag of a partial file is kept."""
    return part.with_name(f"{part.name}.etag")


def _fetch(url: str, part: Path, path: Path, policy: Policy) -> None:
    """Make one request, for what is missing of `part`, and write it there."""
    have = part.stat().st_size if part.exists() else 0
    tag = _validator(part).read_text(encoding="ascii") if _validator(part).exists() else ""
    headers = {"User-Agent": f"astro-vq/{astro_vq.__version__}", "Accept-Encoding": "identity"}
    if have and tag:  # without a tag the file on the server may be another one by now
        headers |= {"Range": f"bytes={have}-", "If-Range": tag}
    else:
        have = 0
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=policy.timeout_s) as answer:
            refuse_downgrade(url, answer.url)
            _receive(answer, part, have, policy)
    except urllib.error.HTTPError as err:
        with err:  # it holds the connection
            _explain(err, url, part, path)
    except (OSError, http.client.HTTPException) as err:
        reason = getattr(err, "reason", None) or err
        raise _TryAgainError(f"the connection failed ({reason or type(err).__name__})") from err


def _receive(answer: http.client.HTTPResponse, part: Path, have: int, policy: Policy) -> None:
    resumed = answer.status == 206
    if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        part.unlink()
        raise _TryAgainError("the server sent another part than the one asked for")
    length = answer.headers.get("Content-Length", "")
    expected = int(length) if length.isdigit() else None
    tag = answer.headers.get("ETag", "")
    if not tag or tag.startswith("W/"):
        tag = answer.headers.get("Last-Modified", "")
    _validator(part).write_text(tag.encode("ascii", "ignore").decode(), encoding="ascii")
    received = in_window = 0
    since = time.monotonic()
    with part.open("ab" if resumed else "wb") as file:
        try:
            while block := answer.read1(_BLOCK):
                file.write(block)
                received += len(block)
                in_window += len(block)
                if time.monotonic() - since > policy.stall_s:
                    if in_window < policy.stall_bytes:
                        raise _TryAgainError(f"only {in_window} bytes in {policy.stall_s:g} s")
                    since, in_window = time.monotonic(), 0
        finally:
            file.flush()
            os.fsync(file.fileno())
    if expected is not None and received < expected:
        raise _TryAgainError(f"the answer broke off after {received} of {expected} bytes")


def _explain(err: urllib.error.HTTPError, url: str, part: Path, path: Path) -> None:
    """Raise what an error status means."""
    said = f"the server answered {err.code} {err.reason}".rstrip()
    if err.code == 416:  # the part is as long as the file, or longer
        part.unlink(missing_ok=True)
        raise _TryAgainError(said)
    if err.code in _AGAIN:
        raise _TryAgainError(said, _seconds(err.headers.get("Retry-After", "")))
    remedy = (
        "it has moved or does not exist: see the home page of the data in 'astro-vq recipe show', "
        "or give --mirror"
        if err.code in _MISSING
        else "it may need an account or refuse programs"
    )
    raise DownloadError(f"{path}: {url}: {said}; {remedy}", is_missing=err.code in _MISSING)


def _seconds(text: str) -> float | None:
    """Return the seconds of a Retry-After header, which are a number or a date."""
    if text.strip().isdigit():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None
