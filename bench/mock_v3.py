"""The stateful API, far cheaper than what is measured: nginx with fixed answers, or a small Python server without it.

What comes with the check's key goes to a recorder inside the bench, so that what a subject does can be looked at.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.machine import OTHER_CORE
from bench.processes import Process, started

CHECK_KEY = "check-key-of-the-bench"

HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 25))
"""Where it listens, so that webhooks can be of many hosts; without nginx only the first."""

_CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {directory}/mock.pid; error_log {directory}/mock.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s; default_type application/json;
  client_max_body_size 0; client_body_buffer_size 16m; client_body_temp_path {directory}/body;
  proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u;
  scgi_temp_path {directory}/s;
  map $http_authorization $record {{ default 0; "Bearer {key}" 1; }}
  server {{
    {listen}
    error_page 418 = @recorder;
    if ($record) {{ return 418; }}
    location @recorder {{ proxy_pass http://127.0.0.1:{recorder}; }}
    location = /api/conversations {{
      if ($request_method = POST) {{ return 200 '{{"conversation":{{"id":"$request_id"}}}}'; }}
      return 200 '{{"conversations":[]}}';
    }}
    location ~ ^/api/conversations/[^/]+/messages$ {{ return 202 ""; }}
    location /api/conversations/ {{
      if ($request_method = PATCH) {{ return 200 '{{"success":true}}'; }}
      return 200 '{{"messages":[]}}';
    }}
    location /api/users {{ return 200 '{{"user":{{"id":"u"}}}}'; }}
    location / {{ return 200 '{{}}'; }}
  }}
}}
"""


@dataclass
class Recorder:
    """Answers as the stateful API does and keeps what it was asked; everything else (webhooks) gets 200."""

    requests: list[tuple[str, str, bytes]] = field(default_factory=list)

    def __call__(self, method: str, path: str, _head: bytes, body: bytes) -> tuple[int, bytes]:
        """Take one request."""
        self.requests.append((method, path, body))
        return answer(method, path)

    def of(self, method: str, ending: str) -> list[bytes]:
        """Give the bodies of the requests of a method to paths that end so."""
        return [body for asked, path, body in self.requests if asked == method and path.split("?")[0].endswith(ending)]


def answer(method: str, path: str) -> tuple[int, bytes]:
    """Give status and body of an answer, the same as the configuration of nginx says."""
    parts = path.partition("?")[0].strip("/").split("/")
    match method, parts:
        case "POST", ["api", "conversations", _, "messages"]:
            return 202, b""
        case "POST", ["api", "conversations"]:
            body = json.dumps({"conversation": {"id": uuid.uuid4().hex}})
        case "GET", ["api", "conversations"]:
            body = '{"conversations":[]}'
        case "PATCH", ["api", "conversations", _]:
            body = '{"success":true}'
        case "GET", ["api", "conversations", _]:
            body = '{"messages":[]}'
        case _, ["api", "users", *_]:
            body = '{"user":{"id":"u"}}'
        case _:
            body = "{}"
    return 200, body.encode()


def is_nginx() -> bool:
    """Tell whether nginx plays the part."""
    return shutil.which("nginx") is not None


@contextmanager
def running(port: int, recorder: int, directory: Path) -> Iterator[Process]:
    """Run nginx as the mock on `port`; `recorder` is the port of the bench's own server."""
    place = directory / "mock"
    place.mkdir()
    file = place / "nginx.conf"
    listen = "\n    ".join(f"listen {host}:{port} backlog=4096;" for host in HOSTS)
    file.write_text(_CONFIGURATION.format(directory=place, listen=listen, recorder=recorder, key=CHECK_KEY))
    command = ["nginx", "-c", str(file), "-p", str(place), "-e", str(place / "mock.log")]
    with started("mock V3", command, cores={OTHER_CORE}) as process:
        yield process
