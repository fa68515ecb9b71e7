"""The ``aws`` on a rehearsal's PATH: forward a call to the warm AWS CLI, and exit as that call exits.

``python -I -S aws_client.py FOLDER ARGUMENTS...``; FOLDER holds the socket of ``rehearsal.warm_aws``.
"""

# A rehearsal starts this more than a hundred times. The modules signal and socket, which wrap these
# two, would double the startup time.
import _signal as signal
import _socket as socket
import os
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main(folder: str, *arguments: str) -> int:
    """Let the server run the call; return its exit code, or exit by the signal that ended it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    environment = [b"%s=%s" % item for item in os.environb.items()]
    words = [os.getcwdb(), b"%d" % len(arguments), *map(os.fsencode, arguments), *environment]
    request = b"\0".join(words)
    # A socket path is limited to 107 bytes, and TMPDIR may be longer.
    os.chdir(folder)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect("aws.socket")
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, files)
    server.sendmsg([len(request).to_bytes(4, "big")], [rights])
    while request:
        request = request[server.send(request) :]
    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: server.send(bytes([number])))
    answer = server.recv(2)
    if len(answer) < 2:
        os.write(2, b"aws: the rehearsal's AWS CLI has ended\n")
        return 1
    code, died_of = answer
    if died_of:
        if died_of in FORWARDED:
            signal.signal(died_of, signal.SIG_DFL)
        os.kill(os.getpid(), died_of)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
