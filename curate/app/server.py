"""FiftyOne's server of the App with two restrictions: its pages load nothing from other hosts, and pages of other sites
cannot use it. The server sends any file on request, so without the second every page in the browser could read it.

Run as a file by `open_review`, in an environment of its own: `python -P server.py ADDRESS PORT`. Each answer carries
`$WINNOW_REVIEW` in the header `winnow-review`, so that one review does not take another's server for its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

HOSTS = ("127.0.0.1", "localhost")
TOKEN = os.environ.get("WINNOW_REVIEW", "").encode()
POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"


class LocalRequestsOnly:
    """ASGI middleware that refuses other host names (DNS rebinding) and requests from the pages of other sites."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        is_link = headers.get(b"sec-fetch-mode") == "navigate"
        if headers.get(b"host", "").rpartition(":")[0] not in HOSTS or (
            headers.get(b"sec-fetch-site") == "cross-site" and not is_link
        ):
            await send({"type": "http.response.start", "status": 403, "headers": []})
            return await send({"type": "http.response.body", "body": b"only at 127.0.0.1 or localhost"})

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(b"content-security-policy", POLICY), (b"winnow-review", TOKEN)]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        return await self.app(scope, receive, send_with_headers)


def main(address: str, port: int) -> None:
    """Serve until the process is ended."""
    os.environ["FIFTYONE_SERVER"] = "1"
    from fiftyone.server.app import app
    from fiftyone.server.main import start_server

    app.add_middleware(LocalRequestsOnly)
    start_server(port=port, address=address)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
