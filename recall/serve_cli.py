"""``tagstream serve``."""

import ipaddress
import socket
from typing import TYPE_CHECKING

import click

from recall.cli import DATA
from recall.settle import settle
from schemas.errors import BadSetting
from schemas.settings import Settings, load

if TYPE_CHECKING:
    from fastapi import FastAPI

GRACE_S = 10


@click.command(epilog="Example: TAGSTREAM_SERVE_TOKEN=... tagstream serve --host 0.0.0.0 --port 8080")
@click.option("--host", "serve_host", help="Address to listen on; default TAGSTREAM_SERVE_HOST, 127.0.0.1.")
@click.option("--port", "serve_port", type=click.IntRange(min=0, max=65535), help="Port; default TAGSTREAM_SERVE_PORT, 8080; 0 = any.")
@DATA
def serve(serve_host: str | None, serve_port: int | None, data: str | None) -> None:
    """Serve recall, notes and profiles over HTTP, until SIGTERM or SIGINT.

    POST /recall, GET /notes/{id}, GET /users/{id}/profile, /health, /ready, /metrics; /docs shows them. Requests under way are finished
    first when it is told to stop.
    """
    settings = load(data=data, serve_host=serve_host, serve_port=serve_port)
    if not settings.serve_token and not is_loopback(settings.serve_host):
        raise BadSetting(
            f"TAGSTREAM_SERVE_TOKEN: {settings.serve_host} can be reached from outside; set a token, or TAGSTREAM_SERVE_HOST=127.0.0.1"
        )
    import uvicorn

    app = build(settings)
    listening = _listen(settings)
    host, port = listening.getsockname()[:2]
    click.echo(f"http://{f'[{host}]' if ':' in host else host}:{port}", err=True)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S, access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[listening])


def build(settings: Settings) -> "FastAPI":
    """The application over the live bundle; what a request needs is loaded before the first one."""
    from recall.build import Live, open_live
    from recall.http_api import create_app
    from recall.pointer import active_bundle
    from recall.redis_client import redis_client
    from recall.serving import Answers, LiveStores
    from schemas.errors import Transient

    def opened() -> Live:
        live = open_live(settings)
        live.encoder.encode(["warm"])
        for space in live.stores.spaces.values():
            space.readers([[]])
        return live

    client = redis_client(settings)
    live = LiveStores(opened, lambda: active_bundle(client, settings), settings.serve_batch)
    try:
        live().stores.index.visible(["-"])
    except Transient as error:
        click.echo(f"tagstream: {error}; /ready says when it is back", err=True)
    app = create_app(Answers(live, settings), settings)
    settle()
    return app


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.serve_host else socket.AF_INET
    try:
        return socket.create_server((settings.serve_host, settings.serve_port), family=family, backlog=512)
    except OSError as error:
        raise BadSetting(f"TAGSTREAM_SERVE_PORT: {settings.serve_host}:{settings.serve_port}: {error.strerror}; choose another") from None
