"""Ask a URL and print the answer: ``ask.py URL``, or ``ask.py URL JSON`` to post JSON.

``ask.py --redirect URL`` prints where the URL redirects to, and fails where it does not.

A service may still be starting: connection errors and 5xx are tried again, ten times in all. The first
key of API_KEY is sent as X-API-Key. Loopback addresses are asked directly, others by the proxy that the
environment names. A failure is one line on stderr, and exit code 1.
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
    """Report a redirect in place of following it: the key is for this host alone."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow nothing."""


def make_opener(url: str, key: str) -> urllib.request.OpenerDirector:
    """What asks: without a proxy on this machine, without redirects where a key is sent."""
    handlers: list[urllib.request.BaseHandler] = [NoRedirect()] if key else []
    host = urllib.parse.urlsplit(url).hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127."):
        handlers.append(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(*handlers)


def explain(error: Exception) -> tuple[str, bool]:
    """What went wrong in a few words, and whether another attempt may succeed."""
    reason = getattr(error, "reason", error)
    if not isinstance(reason, ssl.SSLCertVerificationError):
        return str(reason) or type(reason).__name__, True
    if not has_authorities():
        return "this machine has no CA certificates: install the package ca-certificates", False
    return f"its certificate is not trusted ({reason.verify_message})", False


def has_authorities() -> bool:
    """Whether this machine has certificates to verify others by; a minimal system has none."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and os.listdir(paths.capath)))


class NoAnswerError(Exception):
    """Why a URL gave no answer; ``status`` is HTTP's, 0 where there is none."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


def ask(url: str, body: str | None = None) -> bytes:
    """Return the body of the answer; raises NoAnswerError."""
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
            raise NoAnswerError(f"{url} is no URL, or API_KEY cannot be sent in a header") from None
        if not may_pass or attempt == ATTEMPTS:
            break
        time.sleep(SECONDS_BETWEEN)
    raise NoAnswerError(f"{url}: {failure}", status)


def redirect_of(url: str) -> str:
    """Where a URL redirects to; raises NoAnswerError where it does not, or does not answer."""
    try:
        with make_opener(url, "none").open(url, timeout=SECONDS_TO_ANSWER):
            raise NoAnswerError(f"{url} redirects nowhere")
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
    """Print the answer, or where it is."""
    if arguments[0] == "--redirect":
        print(redirect_of(*arguments[1:]))
    else:
        sys.stdout.buffer.write(ask(*arguments))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except NoAnswerError as error:
        sys.exit(f"ask: {error}")
