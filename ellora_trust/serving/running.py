"""A socket, and the application served on it until it is interrupted.

serve(app, listening("127.0.0.1", 8000))
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ellora_trust.errors import EnvironmentProblem, InputError
from ellora_trust.serving.extra import require_extra

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

# Seconds that open answers get when the server is told to stop.
GRACE = 5


def listening(host: str, port: int) -> socket.socket:
    """Return a bound socket, so that a port in use is a sentence before a model is loaded.

    Args:
        host: Name or address.
        port: 0 takes any that is free.

    Raises:
        InputError: A port out of range.
        EnvironmentProblem: It cannot be bound.
    """
    if not 0 <= port < 65536:
        raise InputError(f"port is {port}; use 0..65535, 0 for any that is free")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.create_server(found[4][:2], family=found[0], backlog=128)
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot listen on {host}, port {port} ({error}); choose another --host or --port"
        ) from error
    # asyncio sets this only on sockets that name their protocol, and an accepted one inherits; without it every answer
    # waits some 40 ms for the client's delayed acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def address(bound: socket.socket) -> str:
    """Return the URL that clients are given as `base_url`."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def server_of(app: FastAPI) -> uvicorn.Server:
    """Return a server that has not started; its log has paths and statuses, never what was asked or answered.

    Raises:
        EnvironmentProblem: The `serve` extra is not installed.
    """
    require_extra()
    import uvicorn

    config = uvicorn.Config(app, log_level="info", timeout_graceful_shutdown=GRACE, server_header=False)
    return uvicorn.Server(config)


def serve(app: FastAPI, bound: socket.socket) -> None:
    """Serve until interrupted."""
    try:
        server_of(app).run(sockets=[bound])
    except KeyboardInterrupt:
        # uvicorn has shut down and raises what it was interrupted by again.
        pass
    finally:
        bound.close()
