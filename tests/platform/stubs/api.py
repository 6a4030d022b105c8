"""Stands in for the API: answers /readyz, and nothing else; not at all where the data folder says so."""

import argparse
import http.server
import json
import sys
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/readyz" else 404)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path)
    data = parser.parse_args().data
    if (data / "api-must-die").exists():
        sys.exit("the stub API cannot go on")
    platform = json.loads((data / "platform.json").read_text())
    http.server.ThreadingHTTPServer((platform["host"], platform["port"]), Handler).serve_forever()


main()
