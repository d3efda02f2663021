"""vLLM as a contender: a python of its own, asked over pipes, with a clear error without it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from cluster.bench import presets
from cluster.bench.vllm_baseline import vllm_contender
from cluster.errors import ConfigError
from cluster.types import Encoding

STAND_IN = """
import json, os
__version__ = "0.0"
class TokensPrompt(dict): ...
class Outputs: probs = [0.5]
class Output: outputs = Outputs
class LLM:
    def __init__(self, checkpoint, **settings):
        assert os.path.exists(os.path.join(checkpoint, "config.json"))
        assert settings["enable_prefix_caching"]
        print("vLLM says a lot")
    def tell(self, what):
        with open(os.environ["TOLD"], "a") as file:
            file.write(json.dumps(what) + "\\n")
    def reset_prefix_cache(self): self.tell("reset")
    def classify(self, prompts, **settings):
        self.tell([p["prompt_token_ids"] for p in prompts])
        return [Output] * len(prompts)
"""


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    def save(preset: presets.Preset, folder: Path, max_tokens: int) -> None:
        (folder / "config.json").write_text("{}")

    monkeypatch.setattr(presets, "save", save)


@pytest.mark.usefixtures("_small")
def test_it_is_asked_for_the_ids_and_forgets_its_prefixes_on_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "vllm"
    package.mkdir()
    (package / "__init__.py").write_text(STAND_IN)
    (package / "pooling_params.py").write_text("PoolingParams = dict\n")
    told = tmp_path / "told"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TOLD", str(told))
    chats = [Encoding(np.arange(n, dtype=np.int32)) for n in (2, 3)]
    with vllm_contender(sys.executable, "cpu", 2048) as contender:
        assert contender.name == "vLLM 0.0, prefix cache"
        for _ in range(2):
            contender.reset()
            for unit, covered in contender.units(chats):
                unit()
                assert covered == chats
    assert told.read_text().splitlines() == ['"reset"', "[[0, 1], [0, 1, 2]]"] * 2


@pytest.mark.usefixtures("_small")
def test_a_python_without_vllm_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vllm.py").write_text("raise ImportError('no vLLM here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        pytest.raises(ConfigError, match=r"does not run vLLM: ImportError: no vLLM here"),
        vllm_contender(sys.executable, "cpu", 2048),
    ):
        pass


@pytest.mark.usefixtures("_small")
def test_a_python_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ConfigError, match="/no/python: No such file"),
        vllm_contender("/no/python", "cpu", 2048),
    ):
        pass
