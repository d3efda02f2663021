"""A call of /v1/score."""

from __future__ import annotations

import json
from typing import Any

from starlette.testclient import TestClient


def post(client: TestClient, *conversations: Any, **terms: Any) -> Any:
    body = json.dumps({"conversations": conversations, **terms})
    return client.post("/v1/score", content=body)
