"""Answers every request with its colour and the deployment that it belongs to."""

import http.server
import pathlib
import sys

COLOUR, PORT = sys.argv[1], int(sys.argv[2])
DEPLOYMENT = pathlib.Path(__file__).with_name("deployment").read_text().strip()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"{COLOUR} {DEPLOYMENT}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
