"""The App's server as FiftyOne runs it, with two doors shut: its pages load nothing from elsewhere, and no other site's
page may use it. It answers whoever asks for any file, so without the second every page in the browser could.

Run as a file by `review`, in an environment of its own: `python -P server.py ADDRESS PORT`. Each answer carries what
`$WINNOW_REVIEW` says in the header `winnow-review`, so that one review does not take another's server for its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

HOSTS = ("127.0.0.1", "localhost")
RUN = os.environ.get("WINNOW_REVIEW", "").encode()
POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


class Doors:
    """ASGI middleware that refuses other names of this computer (DNS rebinding), and what other sites' pages ask."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        link = headers.get(b"sec-fetch-mode") == "navigate"
        if headers.get(b"host", "").rpartition(":")[0] not in HOSTS or (
            headers.get(b"sec-fetch-site") == "cross-site" and not link
        ):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            return await send({"type": "http.response.body", "body": b"only at 127.0.0.1 or localhost"})

        async def sent(message: Any) -> None:
            if message["type"] == "http.response.start":
                ours = [(b"content-security-policy", POLICY), (b"winnow-review", RUN)]
                message["headers"] = [*message["headers"], *ours]
            await send(message)

        return await self.app(scope, receive, sent)


def main(address: str, port: int) -> None:
    """Serve until the process is ended."""
    os.environ["FIFTYONE_SERVER"] = "1"
    from fiftyone.server.app import app
    from fiftyone.server.main import start_server

    app.add_middleware(Doors)
    start_server(port=port, address=address)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
