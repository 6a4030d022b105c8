"""Stands in for the API: answers /readyz, and nothing else; not at all where the data folder says so."""

import argparse
import http.server
import json
import socket
import sys
from pathlib import Path

from provisioning.layout import Layout


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    parser.add_argument("--number", type=int, default=1)
    asked = parser.parse_args()
    data = asked.data
    if (data / "api-must-die").exists():
        sys.exit("the stub API cannot go on")
    platform = json.loads((data / "platform.json").read_text())
    server = Server((platform["host"], platform["port"]), Handler)
    Layout(data=data).api_ready(asked.number).write_text("ready\n")
    server.serve_forever()


main()
