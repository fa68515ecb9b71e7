"""A load balancer that forwards to running tasks."""

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends

from rehearsal.tasks import interface_id, interfaces

# Services with their container ports.
Services = Callable[[], Iterable[tuple[Any, int]]]


class Balancer:
    """Forwards connections to the tasks of services, in turn.

    While a release shifts requests in steps, each revision gets its share of every hundred.
    """

    def __init__(self, scheduler: Any, services: Services) -> None:
        self._scheduler = scheduler
        self._services = services
        self._turn = itertools.count()

    def listen(self, is_test: bool = False) -> str:
        """Listen on a free port; return its address. ``is_test`` forwards to tasks that a release tests first."""
        balancer = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                balancer.forward(self.request, is_test)

        server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_address[1]}"

    def targets(self, turn: int, is_test: bool) -> Iterator[tuple[str, int]]:
        """Yield address and port of each running task that may get the request of this turn."""
        for service, port in self._services():
            tested = getattr(service, "tested", "") if is_test else ""
            chosen = tested or choose(shares_of(service), turn)
            for task in self._scheduler.running(service._backend, service):
                if chosen and task.task_definition_arn != chosen:
                    continue
                yield interfaces(task)[interface_id(task)].public_ip, port

    def forward(self, client: socket.socket, is_test: bool = False) -> None:
        """Forward a connection to a task; without tasks it is closed instead of answered with 503."""
        turn = next(self._turn)
        targets = list(self.targets(turn, is_test))
        if not targets:
            return
        with socket.create_connection(targets[turn % len(targets)]) as task:
            carry(client, task)


def behind(arn: str) -> Iterator[tuple[Any, int]]:
    """Yield the services in the target groups of a load balancer, with their container ports."""
    _, _, _, region, account, _ = arn.split(":", 5)
    groups = elbv2_backends[account][region].target_groups
    for service in ecs_backends[account][region].services.values():
        for entry in service.load_balancers or []:
            group = groups.get(entry["targetGroupArn"])
            if group is not None and arn in group.load_balancer_arns:
                yield service, entry["containerPort"]


def shares_of(service: Any) -> dict[str, float]:
    """Return each revision's share of the requests; empty if all tasks are equal.

    Except in rolling updates, new tasks get no requests until a release shifts them.
    """
    shares: dict[str, float] = getattr(service, "shares", {})
    is_rolling = service.deployment_configuration.get("strategy", "ROLLING") == "ROLLING"
    if shares or is_rolling or len(service.deployments) == 1:
        return shares
    return {service.deployments[-1]["taskDefinition"]: 100}


def choose(shares: dict[str, float], turn: int) -> str:
    """Return the revision for a turn, by shares in percent; empty without shares."""
    # 61 and 100 are coprime: every hundred turns take each place once, in mixed order.
    place = turn * 61 % 100
    for revision, share in shares.items():
        if place < share:
            return revision
        place -= share
    return ""


def carry(client: socket.socket, task: socket.socket) -> None:
    """Copy bytes both ways until both ends close, in one thread: two must not share a TLS connection."""
    sinks = {client: task, task: client}
    with contextlib.suppress(OSError):
        while sinks:
            ready = [source for source in sinks if has_decrypted(source)]
            for source in ready or select.select([*sinks], [], [])[0]:
                data = source.recv(65536)
                if data:
                    sinks[source].sendall(data)
                else:
                    sinks.pop(source).shutdown(socket.SHUT_WR)


def has_decrypted(source: socket.socket) -> bool:
    """Whether a TLS connection has buffered bytes, which select() does not see."""
    pending = getattr(source, "pending", None)
    return pending is not None and pending() > 0
