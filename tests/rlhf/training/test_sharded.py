"""Weights sharded by FSDP2 over two processes: the whole model's rewards and gradients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMAND = """
import json, sys
import torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard

from cluster.engine.packing import pack
from cluster.rlhf.training.config import LoraSettings, TrainConfig
from cluster.rlhf.training.model_setup import load_starting_model

model, out = sys.argv[1:]
dist.init_process_group("gloo")
lora = LoraSettings(rank=2, base_dtype="bfloat16")
start = load_starting_model(
    TrainConfig(model=model, lora=lora, gradient_checkpointing=False, device="cpu")
)
chats = [
    [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": "a" * n}]
    for n in (1, 5, 9)
]
batch = pack(start.encoder.encode_all(chats), "fast", 16)


def learnt(model):
    model.zero_grad()
    rewards = model(batch)
    rewards.float().sum().backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    whole = {name: getattr(g, "full_tensor", lambda g=g: g)() for name, g in trained.items()}
    return rewards.tolist(), {name: float(g.float().norm()) for name, g in whole.items()}


alone = learnt(start.model)
for layer in start.model.module.model.layers:
    fully_shard(layer)
fully_shard(start.model)
dtypes = sorted({str(p.dtype) for p in start.model.parameters()})
found = {"alone": alone, "sharded": learnt(start.model), "dtypes": dtypes}
if dist.get_rank() == 0:
    open(out, "w").write(json.dumps(found))
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_a_bfloat16_base_with_adapters_is_sharded_and_learns_as_when_whole(
    tmp_path: Path, random_checkpoint: Path
) -> None:
    pytest.importorskip("peft")
    script, out = tmp_path / "sharded.py", tmp_path / "found.json"
    script.write_text(COMMAND)
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    command = [sys.executable, "-m", *launch, str(script), str(random_checkpoint), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(out.read_text())
    assert found["dtypes"] == ["torch.bfloat16", "torch.float32"]
    (rewards, gradients), (alone, whole) = found["sharded"], found["alone"]
    assert rewards == alone
    assert gradients.keys() == whole.keys()
    # Both processes see the same batch, and FSDP takes the mean over them.
    assert [gradients[name] for name in whole] == pytest.approx(list(whole.values()), rel=1e-5)
    assert sum(norm > 0 for norm in gradients.values()) > len(gradients) // 2
