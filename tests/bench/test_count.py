"""A forward counted without a device: FLOPs as they follow from the shapes, each kernel once."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn.functional import linear
from transformers import AttentionInterface

from cluster.bench import presets
from cluster.bench.count import DEVICES, META, BatchShape, Peaks, count, forward_s
from cluster.bench.op_counter import Kernel, OpCounter
from cluster.engine.attention import IMPLEMENTATION, varlen
from cluster.engine.model import PackedRewardModel
from cluster.engine.packing import pack
from cluster.types import Numerics

GROUP = BatchShape("a group", prompts=1, prompt=40, n=4, response=10)


@pytest.fixture(scope="module")
def module() -> Any:
    return presets.build("cpu", META)


@pytest.fixture(scope="module")
def shallow(module: Any) -> Any:
    """`module` with its first layer alone."""
    found = copy.deepcopy(module)
    found.model.layers = found.model.layers[:1]
    found.config.num_hidden_layers = 1
    return found


def row(
    module: Any, numerics: Numerics, shape: BatchShape = GROUP, budget: int = 256
) -> dict[str, Any]:
    return count(module, numerics, shape, budget, DEVICES["h200"])


def test_a_matmul_counts_its_flops_and_each_operand_once() -> None:
    a, w = (torch.empty(n, 8, device="meta", dtype=torch.bfloat16) for n in (4, 16))
    with torch.no_grad(), OpCounter() as counter:
        linear(a, w)
    [kernel] = counter.kernels
    assert (kernel.kind, kernel.flops, kernel.bytes) == ("matmul", 2 * 4 * 8 * 16, 2 * 224)


def test_views_are_free_and_an_expanded_tensor_is_read_once() -> None:
    a = torch.empty(1, 6, device="meta")
    with torch.no_grad(), OpCounter() as counter:
        a.expand(5, 6).t().clone()
    [kernel] = counter.kernels
    assert (kernel.kind, kernel.bytes) == ("gather", 4 * (6 + 30))


def test_what_is_picked_from_a_table_is_read_not_the_table() -> None:
    table, index = torch.empty(1000, 4, device="meta"), torch.empty(3, device="meta").long()
    with torch.no_grad(), OpCounter() as counter:
        table.index_select(0, index)
    assert counter.kernels[0].bytes == 2 * 3 * 4 * 4 + 3 * 8


def test_a_value_read_by_the_host_is_a_synchronisation_and_an_upload_a_copy() -> None:
    with torch.no_grad(), OpCounter() as counter:
        on_device = torch.ones(3).to("meta")
        assert not (on_device > 0).any()
    assert (counter.host_syncs, counter.host_copies) == (1, 1)


def test_flops_of_a_forward_follow_from_its_rows(module: Any) -> None:
    found = row(module, "fast")
    assert found["rows"] == found["unique_tokens"] == 80
    assert found["matmul_flops"] == presets.flops_per_token(module) * 80
    pairs = 40 * 41 // 2 + 4 * (10 * 40 + 10 * 11 // 2)
    assert found["attention_flops"] == 4 * pairs * 512 * 8


def test_reference_runs_every_token_and_invariant_its_padding(module: Any) -> None:
    assert row(module, "reference")["rows"] == 4 * 50
    assert row(module, "invariant")["rows"] == 256
    assert row(module, "fast")["kernels"] < row(module, "reference")["kernels"]


def test_attention_adds_no_kernel_but_its_own_to_a_layer_that_shares_nothing() -> None:
    encodings = BatchShape("alone", 1, 0, 1, 30).encodings(100)
    model = PackedRewardModel(presets.build("cpu", META), "fast", attention="varlen")
    attend = varlen.prepare(pack(encodings), META, False)
    states = [torch.empty(heads, 30, 64, device="meta").bfloat16() for heads in (8, 2, 2)]
    states = [state.transpose(0, 1).contiguous().transpose(0, 1) for state in states]
    registry: Any = AttentionInterface
    function = registry()
    layer = model.module.base_model.layers[0].self_attn
    batched = [state[None] for state in states]
    with torch.no_grad():
        function[IMPLEMENTATION](layer, *batched, None, segments=attend)  # uploads, for all layers
        with OpCounter() as counter:
            function[IMPLEMENTATION](layer, *batched, None, segments=attend)
    assert [kernel.kind for kernel in counter.kernels] == ["attention"]


UPLOADS = {
    # ids, positions, last tokens, and where each query's and each context's tokens begin
    BatchShape("alone", prompts=3, prompt=0, n=1, response=30): 5,
    GROUP: 6,  # and whose keys a response sees
    replace(GROUP, kept=True): 6,
    BatchShape("deep", prompts=2, prompt=5000, n=4, response=10): 9,  # two calls a layer
}


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
@pytest.mark.parametrize("shape", UPLOADS, ids=lambda shape: f"{shape.name}, {shape.kept}")
def test_a_packed_forward_is_uploaded_once_and_the_host_never_waits(
    module: Any, shape: BatchShape, numerics: Numerics
) -> None:
    found = row(module, numerics, shape)
    assert (found["host_syncs"], found["host_copies"]) == (0, UPLOADS[shape])


def test_uploads_follow_neither_layers_nor_chats(module: Any, shallow: Any) -> None:
    many = row(shallow, "invariant", replace(GROUP, n=64))
    assert many["kernels"] < row(module, "invariant")["kernels"]
    assert many["host_copies"] == UPLOADS[GROUP]


def test_a_kept_prompt_costs_no_rows(module: Any) -> None:
    shape = BatchShape("kept", 1, 100, 1, 20, kept=True)
    found, computed = row(module, "fast", shape), row(module, "fast", replace(shape, kept=False))
    assert (found["rows"], computed["rows"]) == (20, 120)
    assert found["attention_flops"] < computed["attention_flops"]
    assert row(module, "reference", shape)["rows"] == 120


def test_the_time_is_the_longer_of_work_and_launches() -> None:
    peaks = Peaks("a device", 100.0, 50.0, 10.0, launch_s=1.0)
    kernels = [Kernel("mm", "matmul", 400.0, 1.0), Kernel("add", "elementwise", 0.0, 20.0)]
    assert forward_s(kernels, 100.0, peaks, 2) == 4.0 + 2.0 + 2.0
    assert forward_s(kernels, 0.0, Peaks("slow host", 1e9, 1.0, 1e9, launch_s=3.0), 2) == 6.0


@pytest.mark.parametrize("numerics", ["invariant", "fast"])
def test_a_graph_runs_the_kernels_of_the_forward_in_three_launches_a_layer(
    module: Any, shallow: Any, numerics: Numerics
) -> None:
    """The graph, attention, and the copy of what attention answers."""
    alone = BatchShape("alone", 1, 0, 1, 256)
    args = numerics, alone, 256, DEVICES["h200"]
    plain, graphed = count(module, *args), count(module, *args, graphs=True)
    layers = module.config.num_hidden_layers
    assert graphed["launches"] - count(shallow, *args, graphs=True)["launches"] == 3 * (layers - 1)
    assert graphed["kernels"] == plain["kernels"] + layers + 2  # copies: answers, ids, positions
    assert graphed["matmul_flops"] == plain["matmul_flops"]
    assert (graphed["host_syncs"], graphed["host_copies"]) == (0, plain["host_copies"])


@pytest.mark.slow
def test_the_command_prints_a_row_per_batch_and_numerics() -> None:
    from cluster.cli import main

    result = CliRunner().invoke(main, ["bench", "engine", "--preset", "cpu", "--count", "h100"])
    assert result.exit_code == 0, result.output
    assert "H100 SXM" in result.output
    assert "one chat: 1 sequences, 1,200 tokens" in result.output
    assert result.output.count("invariant") == result.output.count("half full") * 8


def test_responses_to_a_long_prompt_do_not_gather_it_each(module: Any) -> None:
    few, many = (row(module, "fast", BatchShape("long", 1, 5000, n, 10)) for n in (8, 64))
    prompt_bytes = 5000 * 2 * 2 * 2 * 64 * 8  # keys and values, bf16, 2 heads of 64, 8 layers
    assert many["bytes"]["gather"] - few["bytes"]["gather"] < 8 * prompt_bytes
