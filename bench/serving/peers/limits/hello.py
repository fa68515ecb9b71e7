"""The minimum that Python can do on an event loop: a response as long as that to one row of iris."""

import asyncio
import os
import socket

import httptools
import uvloop

BODY = (
    b'{"predictions":["setosa"],"probabilities":[{"setosa":0.9796590805053711,'
    b'"versicolor":0.020340900868177414,"virginica":1.4357918326880047e-8}]}'
)
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(BODY),
    BODY,
)


class Hello(asyncio.Protocol):
    """Answer without reading the request."""

    def connection_made(self, transport):
        """Read HTTP from the connection."""
        self.transport = transport
        self.parser = httptools.HttpRequestParser(self)

    def data_received(self, data):
        """Feed the parser."""
        self.parser.feed_data(data)

    def on_message_complete(self):
        """Answer a request once the parser has all of it."""
        self.transport.write(ANSWER)


async def serve(protocol, listener):
    """Serve incoming connections."""
    server = await asyncio.get_running_loop().create_server(protocol, sock=listener)
    await server.serve_forever()


def run(protocol):
    """Serve at PORT with a number of WORKERS."""
    listener = socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=1024)
    for _ in range(int(os.environ["WORKERS"]) - 1):
        if not os.fork():
            break
    uvloop.run(serve(protocol, listener))


if __name__ == "__main__":
    run(Hello)
