"""vLLM contender: the same weights in a Python interpreter that has vLLM, prefix cache on."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

from cluster.bench import presets
from cluster.bench.baselines import Baseline, Unit
from cluster.errors import ConfigError
from cluster.types import Encoding

WORKER = Path(__file__).with_name("vllm_worker.py")
STOP_S = 30.0


@contextmanager
def vllm_contender(python: str, preset: presets.Preset, max_tokens: int) -> Iterator[Baseline]:
    """Yields the contender; its process ends with the block.

    python: the interpreter.  max_tokens: of the longest chat.

    Raises ConfigError, with the last line of the output, if `python` or its vLLM does not start.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:
        presets.save(preset, Path(folder), max_tokens)
        process = _start(python, folder, max_tokens, said)
        try:
            version = _answer(process, said, python)["version"]
            yield _contender(f"vLLM {version}, prefix cache", process, said, python)
        finally:
            _stop(process)


def _start(python: str, folder: str, max_tokens: int, said: IO[str]) -> subprocess.Popen[str]:
    command = [python, str(WORKER), folder, str(max_tokens)]
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, text=True)
    except OSError as error:
        raise ConfigError(f"--vllm {python}: {error.strerror}") from error


def _contender(name: str, process: subprocess.Popen[str], said: IO[str], python: str) -> Baseline:
    def score(encodings: Sequence[Encoding]) -> None:
        _send(process, json.dumps([e.input_ids.tolist() for e in encodings]))
        _answer(process, said, python)

    def units(encodings: Sequence[Encoding]) -> Iterator[tuple[Unit, Sequence[Encoding]]]:
        yield partial(score, encodings), encodings

    return Baseline(name, units, reset=partial(_send, process, "reset"), streams=True)


def _send(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _answer(process: subprocess.Popen[str], said: IO[str], python: str) -> Any:
    assert process.stdout
    line = process.stdout.readline()
    if line:
        return json.loads(line)
    said.seek(0)
    last = (said.read().strip() or "it said nothing").splitlines()[-1]
    raise ConfigError(f"--vllm {python} does not run vLLM: {last}")


def _stop(process: subprocess.Popen[str]) -> None:
    with process:  # closes the other pipes and waits for its end
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
