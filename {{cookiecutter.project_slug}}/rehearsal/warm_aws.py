"""A warm AWS CLI: ``aws`` for the steps of a rehearsal, without half a second of startup per call.

``python -m rehearsal.warm_aws FOLDER`` imports the AWS CLI once and forks for each call that
``aws_client.py`` sends to FOLDER/aws.socket: arguments, environment, working directory and the
caller's stdin, stdout and stderr. Each call runs the AWS CLI's main() in a separate process. The
client forwards signals and returns the exit code; if the client is killed, so is its call. The
server exits when its stdin ends.
"""

import contextlib
import functools
import gc
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

CLIENT = Path(__file__).with_name("aws_client.py")
# The services that the steps and the inventory call. Definitions of others are loaded on demand.
SERVICES = {"cloudformation", "ec2", "ecr", "ecs", "elbv2", "iam", "logs", "sts"}


@contextlib.contextmanager
def warm_aws(folder: Path, environment: dict[str, str]) -> Iterator[None]:
    """Run the server, and put its ``aws`` first on the environment's PATH."""
    folder.mkdir()
    client = shlex.join([sys.executable, "-I", "-S", str(CLIENT), str(folder)])
    script = folder / "aws"
    script.write_text(f'#!/bin/sh\nexec {client} "$@"\n')
    script.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-m", "rehearsal.warm_aws", folder],
        cwd=CLIENT.parent.parent,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as server:
        if not server.stdout or not server.stdout.readline():
            sys.exit("The AWS CLI did not start, see above")
        environment["PATH"] = f"{folder}{os.pathsep}{environment['PATH']}"
        yield


def main(folder: str) -> None:
    """Serve calls until stdin ends."""
    os.chdir(folder)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("aws.socket")
        listener.listen()
        # From now on, calls wait until preloading is done.
        print("listening", flush=True)
        clidriver = preload()
        # The processes that supervise calls are not waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while listener in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    keep(connection, clidriver)


def preload() -> Any:
    """Import the AWS CLI and load the definitions of SERVICES, so that calls find them in memory."""
    from awscli import clidriver

    # Each call creates a new session, but what it reads and computes for that never changes.
    sessions, hooks = clidriver.botocore.session, clidriver.botocore.hooks
    sessions.create_loader = functools.cache(sessions.create_loader)
    alias = functools.cache(hooks.EventAliaser(None)._alias_event_name)
    hooks.EventAliaser._alias_event_name = lambda _, name: alias(name)
    session = clidriver.create_clidriver().session
    session.get_available_services()
    for service in SERVICES:
        session.create_client(service, region_name="us-east-1")
    loader = session.get_component("data_loader")
    for kind in ("paginators-1", "waiters-2"):
        for service in SERVICES.intersection(loader.list_available_services(kind)):
            loader.load_service_model(service, kind)
    gc.freeze()
    return clidriver


def keep(connection: socket.socket, clidriver: Any) -> NoReturn:
    """Receive a call, run it in a fork, forward signals to it, and send back its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, files, _, _ = socket.recv_fds(connection, 4, 3)
    request = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
    # A signal may arrive before the call can handle it; run() unblocks it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    call = os.fork()
    if call == 0:
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        end(run(clidriver, *request.split(b"\0")))
    for file in files:
        os.close(file)
    threading.Thread(target=forward_signals, args=(connection, call), daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(call, 0)[1])
    with contextlib.suppress(OSError):
        connection.sendall(bytes([max(code, 0), max(-code, 0)]))
    os._exit(0)


def forward_signals(connection: socket.socket, call: int) -> None:
    """Forward the client's signals to its call; kill the call when the client is gone."""
    with contextlib.suppress(ProcessLookupError):
        while received := connection.recv(1):
            os.kill(call, received[0])
        os.kill(call, signal.SIGKILL)


def run(clidriver: Any, folder: bytes, count: bytes, *words: bytes) -> int:
    """Run the AWS CLI as if started in ``folder``, with the given arguments and environment."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        os.chdir(folder)
        # Set when the AWS CLI was imported.
        data_path = os.environ["AWS_DATA_PATH"]
        os.environb.clear()
        os.environb.update(word.split(b"=", 1) for word in words[int(count) :])
        os.environ["AWS_DATA_PATH"] = data_path
        sys.argv = ["aws", *map(os.fsdecode, words[: int(count)])]
        sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
        sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
        return int(clidriver.main() or 0)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException:
        traceback.print_exc()
        return 1


def end(code: int) -> NoReturn:
    """Exit with the code that Python would use, but immediately."""
    try:
        sys.stdout.flush()
    except OSError:
        code = 120
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    os._exit(code & 255)


if __name__ == "__main__":
    main(*sys.argv[1:])
