"""A load balancer that forwards to the tasks that run."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

from moto.ecs.models import ecs_backends
from moto.elbv2.models import elbv2_backends

from rehearsal.tasks import interface_id, interfaces


class Balancer:
    """Forwards connections to the tasks of the services in a load balancer's target groups, in turn.

    While a release moves the requests in steps, each revision gets its share of every hundred.
    """

    def __init__(self, scheduler: Any, arn: str) -> None:
        self._scheduler = scheduler
        self._arn = arn
        self._turn = itertools.count()
        balancer = self

        class Handler(BaseRequestHandler):
            def handle(self) -> None:
                balancer.forward(self.request)

        server = ThreadingTCPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        self.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def targets(self, turn: int) -> Iterator[tuple[str, int]]:
        """Address and port of each task that runs and may have the request of this turn."""
        _, _, _, region, account, _ = self._arn.split(":", 5)
        groups = elbv2_backends[account][region].target_groups
        backend = ecs_backends[account][region]
        for service in backend.services.values():
            for entry in service.load_balancers or []:
                group = groups.get(entry["targetGroupArn"])
                if group is None or self._arn not in group.load_balancer_arns:
                    continue
                chosen = choose(getattr(service, "shares", {}), turn)
                for task in self._scheduler.running(backend, service):
                    if chosen and task.task_definition_arn != chosen:
                        continue
                    address = interfaces(task)[interface_id(task)].public_ip
                    yield address, entry["containerPort"]

    def forward(self, client: socket.socket) -> None:
        """Carry a connection to a task and back; without one it is closed, for want of a 503."""
        turn = next(self._turn)
        targets = list(self.targets(turn))
        if not targets:
            return
        with socket.create_connection(targets[turn % len(targets)]) as task:
            back = threading.Thread(target=pump, args=(task, client), daemon=True)
            back.start()
            pump(client, task)
            back.join()


def choose(shares: dict[str, float], turn: int) -> str:
    """The revision that has a turn, by the shares of each in percent; none where there are no shares."""
    # 61 and 100 have no common divisor: each hundred turns come in another order, every one once.
    place = turn * 61 % 100
    for revision, share in shares.items():
        if place < share:
            return revision
        place -= share
    return ""


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until the source has no more."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
