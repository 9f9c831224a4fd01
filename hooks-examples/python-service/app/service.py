"""Greets at /, and answers at /health. It tells systemd when it can answer (Type=notify)."""

import http.server
import os
import signal
import socket
import threading

from greeting import greeting

VERSION = "1"
PORT = int(os.environ.get("PORT", "8083"))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = {"/": greeting("world", VERSION), "/health": "ok"}
        body = known.get(self.path, "").encode()
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def notify(state):
    """Says something to systemd. Without systemd nothing listens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(state.encode(), address)


def main():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    # shutdown() waits for serve_forever(), so another thread must call it.
    stop = threading.Thread(target=server.shutdown)
    signal.signal(signal.SIGTERM, lambda *_: stop.start())
    notify("READY=1")
    server.serve_forever()


main()
