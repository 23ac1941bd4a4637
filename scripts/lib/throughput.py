"""Throughput of TCP: `serve PORT` answers, `up` and `down ADDRESS PORT BYTES` send or fetch so many and print MB/s,
or `stalled` where nothing has moved for 2 s: pasta of 2023 forgets a connection now and then.

Counts bytes, and nothing but bytes: what is compared is the way between both sides.
"""

import socket
import socketserver
import sys
import time

CHUNK = 1 << 20
PATIENCE = 2.0


class Sink(socketserver.BaseRequestHandler):
    """`u` or `d`, and a length in 8 bytes: takes or gives so many, and ends what it took with one byte."""

    def handle(self) -> None:
        order = self.request.recv(9, socket.MSG_WAITALL)
        length = int.from_bytes(order[1:], "big")
        if order[:1] == b"u":
            take(self.request, length)
            self.request.sendall(b".")
        else:
            give(self.request, length)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


def take(sock: socket.socket, length: int) -> None:
    buffer = bytearray(CHUNK)
    while length:
        count = sock.recv_into(buffer, min(length, CHUNK))
        if not count:
            raise SystemExit("the connection ended early")
        length -= count


def give(sock: socket.socket, length: int) -> None:
    data = bytes(CHUNK)
    while length:
        part = min(length, CHUNK)
        sock.sendall(data[:part] if part < CHUNK else data)
        length -= part


def main() -> None:
    verb, *words = sys.argv[1:]
    if verb == "serve":
        with Server((words[0], int(words[1])), Sink) as server:
            print(server.server_address[1], flush=True)
            server.serve_forever()
    address, port, length = words[0], int(words[1]), int(words[2])
    try:
        print(f"{length / transfer(verb, (address, port), length) / 1e6:.0f}")
    except TimeoutError:
        print("stalled")


def transfer(verb: str, server: tuple[str, int], length: int) -> float:
    """The seconds that it takes."""
    with socket.create_connection(server, timeout=PATIENCE) as sock:
        began = time.monotonic()
        sock.sendall(verb[:1].encode() + length.to_bytes(8, "big"))
        if verb == "up":
            give(sock, length)
            take(sock, 1)
        else:
            take(sock, length)
        return time.monotonic() - began


if __name__ == "__main__":
    main()
