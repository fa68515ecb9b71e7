"""Request a URL and print the response: ``ask.py URL``, or ``ask.py URL JSON`` to post JSON.

``ask.py --redirect URL`` prints where the URL redirects to, and fails if it does not redirect.

A service may still be starting, so connection errors and 5xx are retried, up to ten attempts in all. The
first key in API_KEY is sent as X-API-Key. Loopback addresses are requested directly, others through the
proxy set in the environment. On failure, print one line to stderr and exit with 1.
"""

import http.client
import os
import ssl
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

ATTEMPTS = 10
SECONDS_BETWEEN = 3
SECONDS_TO_ANSWER = 10


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Report a redirect instead of following it: the key is only for this host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing."""


def make_opener(url: str, key: str) -> urllib.request.OpenerDirector:
    """Return an opener: without a proxy for this machine, without redirects if a key is sent."""
    handlers: list[urllib.request.BaseHandler] = [NoRedirect()] if key else []
    host = urllib.parse.urlsplit(url).hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127."):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def explain(error: Exception) -> tuple[str, bool]:
    """Return a short reason, and whether another attempt may succeed."""
    reason = getattr(error, "reason", error)
    if not isinstance(reason, ssl.SSLCertVerificationError):
        return str(reason) or type(reason).__name__, True
    if not has_authorities():
        return "this machine has no CA certificates: install the package ca-certificates", False
    return f"its certificate is not trusted ({reason.verify_message})", False


def has_authorities() -> bool:
    """Whether this machine has CA certificates; a minimal system has none."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and os.listdir(paths.capath)))


class NoAnswerError(Exception):
    """A request failed; ``status`` is the HTTP status, or 0 without a response."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def ask(url: str, body: str | None = None) -> bytes:
    """Return the body of the response; raise NoAnswerError on failure."""
    key = os.environ.get("API_KEY", "").partition(",")[0]
    headers = {"X-API-Key": key} if key else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
    data = None if body is None else body.encode()
    opener = make_opener(url, key)
    for attempt in range(1, ATTEMPTS + 1):
        status = 0
        try:
            request = urllib.request.Request(url, data, headers)  # noqa: S310
            with opener.open(request, timeout=SECONDS_TO_ANSWER) as response:
                answer: bytes = response.read()
            return answer
        except urllib.error.HTTPError as error:
            with error:
                status = error.code
                failure, may_pass = f"HTTP {status} {error.reason}", status >= 500
        except (OSError, http.client.HTTPException) as error:
            failure, may_pass = explain(error)
        except ValueError:
            raise NoAnswerError(
                f"{url} is not a URL, or API_KEY cannot be sent in a header"
            ) from None
        if not may_pass or attempt == ATTEMPTS:
            break
        time.sleep(SECONDS_BETWEEN)
    raise NoAnswerError(f"{url}: {failure}", status)


def redirect_of(url: str) -> str:
    """Return where a URL redirects to; raise NoAnswerError if it does not redirect or respond."""
    try:
        with make_opener(url, "none").open(url, timeout=SECONDS_TO_ANSWER):
            raise NoAnswerError(f"{url} does not redirect")
    except urllib.error.HTTPError as error:
        with error:
            if error.code not in range(300, 400):
                raise NoAnswerError(
                    f"{url}: HTTP {error.code} {error.reason}", error.code
                ) from None
            return error.headers.get("Location", "")
    except OSError as error:
        raise NoAnswerError(f"{url}: {explain(error)[0]}") from None


def main(*arguments: str) -> None:
    """Print the response, or the target of the redirect."""
    if arguments[0] == "--redirect":
        print(redirect_of(*arguments[1:]))
    else:
        sys.stdout.buffer.write(ask(*arguments))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except NoAnswerError as error:
        sys.exit(f"ask: {error}")
