"""`annotate --app`: a data set scored by a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.groups import read_lines, write_lines

from cluster.cli import main
from cluster.config import EngineConfig
from cluster.engine.encoding.encoder import ChatEncoder
from cluster.serving.replica.backends import fake_reward
from cluster.types import Message

pytestmark = pytest.mark.ray


def test_rows_are_scored_by_the_service_in_order(
    plain_app: str, byte_tokenizer: str, tmp_path: Path
) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"Question {i}?", "responses": [f"answer {j}" for j in range(1 + i % 3)]}
        for i in range(70)
    ]
    source, out = write_lines(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    done = CliRunner().invoke(main, ["annotate", str(source), str(out), "--app", plain_app])
    assert done.exit_code == 0, done.output
    encoder = ChatEncoder.load(EngineConfig(model=byte_tokenizer))
    for row, found in zip(rows, read_lines(out), strict=True):
        chat = [Message(role="user", content=row["prompt"])]
        ids = [encoder.encode((chat, text)).input_ids for text in row["responses"]]
        assert found == row | {"rewards": [fake_reward(one, "r1") for one in ids]}


def test_options_of_an_engine_that_nobody_asks_are_refused(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "in.jsonl", [])
    command = ["annotate", str(source), str(tmp_path / "out"), "--app", "x", "--dtype", "float16"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 2
    assert "leave out dtype" in done.stderr
