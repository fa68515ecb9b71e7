"""Rehearsal settings for ECS Express Mode."""

import contextlib
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rehearsal.changes import edited, new_tag
from rehearsal.stack_tool import CLUSTER, KEPT, MAKEFILE, MISSING, NEEDS, NO_REGISTRY, find_tools

__all__ = ["CLUSTER", "KEPT", "MAKEFILE", "MISSING", "NEEDS", "NO_REGISTRY", "find_tools"]

# What can only be tested in an account.
BEYOND = {
    "rights": "the embedded AWS allows everything; the tests compare the role's policy with the called actions",
    "ECS Express Mode": "its operations, their order and canary releases are emulated as AWS documents them; a "
    "minute lasts a second; failed requests are counted by a front on this machine",
    "certificate and DNS": "the rehearsal's proxy serves the address, with its own certificate",
    "load balancer, security groups and autoscaling": "ECS creates and deletes them; here is a front without metrics",
    "an update of roles": "only task definition and service change here",
}

# Appended to inference/predictor.py; the model works during startup and for some requests.
FAILING = """

def predict_or_fail(self, inputs, predict=Predictor.predict, calls=[]):
    calls.append(None)
    if len(calls) > 4:
        raise RuntimeError("failing, for the rehearsal")
    return predict(self, inputs)


Predictor.predict = predict_or_fail
"""


def rehearse_more(rehearsal: Any, deploy: list[str], release: list[str]) -> None:
    """Rehearse a release whose requests fail: its canary, which gets 5 % of them, is rolled back."""
    with failing_requests(rehearsal.stage.copy), requests(rehearsal.stage):
        rehearsal.make("canary whose requests fail", *release, new_tag("failing"), fails=True)
    rehearsal.make("the release before it answers", "smoke")


def failing_requests(copy: Path) -> contextlib.AbstractContextManager[None]:
    """Make predictions of the next release fail after it has started."""
    predictor = copy / "inference/predictor.py"
    return edited(predictor, predictor.read_text() + FAILING)


@contextlib.contextmanager
def requests(stage: Any) -> Iterator[None]:
    """Send requests for predictions to the service in the background."""
    environment = stage.environment
    options = {"cwd": stage.copy, "env": environment, "text": True}
    url, sample = (
        subprocess.run(command, stdout=subprocess.PIPE, **options).stdout
        for command in (
            ["make", "--no-print-directory", "--silent", "url"],
            [".venv/bin/python", "-m", "inference.expected"],
        )
    )
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"https": environment["HTTPS_PROXY"]}),
        urllib.request.HTTPSHandler(
            context=ssl.create_default_context(cafile=environment["SSL_CERT_FILE"])
        ),
    )
    is_over = threading.Event()

    def ask() -> None:
        # Without a service, requests fail, and the steps report it.
        target = f"{url.strip() or 'https://nowhere.invalid'}/predict"
        body = sample.partition("\n")[0].encode()
        while not is_over.wait(0.02):
            # A request sent through a proxy cannot be reused.
            request = urllib.request.Request(target, body, {"Content-Type": "application/json"})  # noqa: S310
            with contextlib.suppress(OSError), opener.open(request, timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def install(scheduler: Any) -> None:
    """Make the embedded AWS's CloudFormation behave like the real one, and add Express Mode."""
    from rehearsal import deployments, express, stacks

    stacks.install(scheduler)
    deployments.install(scheduler)
    express.install(scheduler)
