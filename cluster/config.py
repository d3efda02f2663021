"""Configuration dataclasses: every setting with its unit; frozen, unknown keys are refused.

Replicas, GPUs per replica and autoscaling belong to Serve's own section of serve_config.yaml and
are not repeated here. Plain dataclasses whose annotations carry their bounds;
`cluster.settings.parsing` checks a mapping (YAML, Serve args) against them. Every number has a
bound, and none is NaN or infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args

from annotated_types import Ge, Interval

from cluster.settings.field_types import Count, NotNegative, Positive, Text
from cluster.settings.parsing import STRICT
from cluster.types import BosPolicy, Dialect, ForeignTemplate, Numerics, TransformName, Truncation

Dtype = Literal["bfloat16", "float16", "float32"]
Layers = Literal["auto", "model", "compiled"]
MAX_PRIORITY = 1000
"""Priorities are whole numbers from -MAX_PRIORITY to MAX_PRIORITY. A level is worth `ageing_s` of
waiting, so this bounds how long others can starve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """One model on one device."""

    __pydantic_config__: ClassVar[Any] = STRICT

    model: Text = "tiny"
    """`tiny` (inside the package), a local folder, or a hub id."""
    revision: Text | None = None
    """Hub commit or tag. Pin it: a score names the revision that made it."""
    device: Text = "auto"
    """`auto` (first GPU, else CPU), `cpu`, `cuda`, `cuda:N`."""
    dtype: Dtype = "bfloat16"
    """Dtype of the weights; the model card's number is bfloat16."""
    compute: Literal["auto", "model", "float32"] = "auto"
    """Dtype of the arithmetic outside `reference`: `model` is the weights' own, `float32` the same
    weights widened once at load; `auto` takes float32 only on a CPU without bf16 instructions."""
    numerics: Numerics = "invariant"
    """`reference` bit-equal to the card's pipeline, `invariant` a chat's bits depend on the chat
    alone, `fast` shares any common prefix."""
    head_dtype: Literal["model", "float32"] = "model"
    """Dtype of the scalar head: `model` is the card's grid, `float32` is finer and ties less."""
    attention: str = "auto"
    """Name in the attention registry; `auto` picks by device."""
    bos: BosPolicy = "tokenizer"
    """How the BOS token is added: `tokenizer` as the card's pipeline does; `one`; `none`."""
    truncate: Truncation = "error"
    """`error` refuses a conversation over `max_tokens`; `left` keeps BOS and the end, flagged."""
    max_tokens: Count | None = None
    """Longest conversation in tokens; None is the model's max_position_embeddings."""
    token_budget: Count = 16384
    """Unique tokens per batch, shared prefixes counted once; a longer request runs alone. On a CPU
    a batch runs in forwards of at most 2,048 tokens."""
    min_shared_tokens: Count = 16
    """Shortest prefix that `fast` shares, in tokens."""
    prompt_cache_mib: Annotated[int, Ge(0)] | None = None
    """Device memory for the keys and values of prompts that are kept between batches, in MiB (128
    KiB per token for Llama-3-8B); None is 4,096 on a GPU and 256 on a CPU, 0 keeps none.
    `reference` never keeps any."""
    layers: Layers = "auto"
    """Code of the layers outside `reference`. `auto`: on a CPU with bf16 instructions and a C++
    compiler, native kernels for Llama, Mistral, Qwen2 and Qwen3, compiled in a second or two the
    first time on a machine; the model's own layers elsewhere. `model`: always the model's own.
    `compiled`: torch.compile fuses norms, rotary, SiLU and residuals into few kernels; the start is
    slow."""
    cuda_graph_rows: Annotated[int, Interval(ge=0, le=2048)] = 0
    """Forwards of up to this many rows run as CUDA graphs, so that a small batch does not wait for
    the host. They are recorded at load, one for every 256 rows; 512 suits an 8B model, whose two
    graphs hold 288 MiB. 0, the default, records none: no device has run it yet."""
    trust_remote_code: bool = False
    """Run Python code from the checkpoint. Leave it off unless you have read that code."""
    verify_at_start: bool = False
    """Compare a small set with the plain transformers pipeline before serving."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """Admission and batching, see `cluster.serving.batching.scheduler`."""

    __pydantic_config__: ClassVar[Any] = STRICT

    max_queued_tokens: Count = 4_000_000
    """Queued tokens beyond which new work is refused with 429."""
    ageing_s: Positive = 5.0
    """Seconds of waiting that raise a request by one priority level."""
    max_attempts: Count = 3
    """Replica deaths that a batch survives before it is split."""
    dedupe_s: NotNegative = 60.0
    """Seconds for which an answered request's score is kept for a client's retry."""


@dataclass(frozen=True, slots=True)
class TransformConfig:
    """One transform and its parameters, as they are recorded; see `cluster.data.transforms`."""

    __pydantic_config__: ClassVar[Any] = STRICT

    name: TransformName
    """`centre`, `leave_one_out` and `normalise` work on the rewards of one prompt's responses."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of its function; for `whiten` the moments as a mapping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConfig:
    """The HTTP ingress. Host and port belong to Serve's `http_options`."""

    __pydantic_config__: ClassVar[Any] = STRICT

    keys_file: Text | None = None
    """File with one bearer key per line, read by the process that deploys; None reads
    REWARD_CLUSTER_KEYS (comma-separated). Without either, requests need no key."""
    open_to_network: bool = False
    """Serve without keys on an address that other machines can reach."""
    max_body_bytes: Count = 8 * 2**20
    """Largest request body in bytes."""
    body_timeout_s: Positive = 30.0
    """Seconds in which a request's body must arrive; then 408."""
    max_slow_bodies: Count = 128
    """Concurrent uploads that take longer than 1 s; one more ends the oldest with 408."""
    max_requests: Count = 1000
    """Requests scored at the same time; one more gets 429. Probes are never refused."""
    max_items: Count = 4096
    """Maximum number of conversations per request."""
    max_tokens_per_request: Count = 4_000_000
    """Maximum number of tokens per request, a shared prompt counted for each of its responses.
    Together with `max_body_bytes` it bounds the Ingress memory that a request takes: 256 MiB at the
    defaults, and 32 times the body for chats that share nothing."""
    max_priority: Annotated[int, Interval(ge=0, le=MAX_PRIORITY)] = MAX_PRIORITY
    """Highest priority that a request may ask for; calls through Ray may ask for up to 1000."""
    deadline_s: Positive = 300.0
    """Seconds after which an unanswered request gets 504."""
    transforms: tuple[TransformConfig, ...] = ()
    """Recorded next to the raw rewards of requests that name no transforms of their own."""
    dialects: tuple[Dialect, ...] = get_args(Dialect)
    """Protocols of other servers and trainers that are answered too; an empty list turns all off.
    If a request's keys fit two of them, the first one answers."""
    retemplate: ForeignTemplate | None = None
    """Chat template of the texts that arrive in the dialects, if it is not the served model's: they
    are parsed back into messages. None takes them as they are."""
    reward_for_failed: Annotated[float, Interval(ge=-1e6, le=1e6)] | None = None
    """Reward that the dialects return for a sample that can never be scored, for clients that retry
    every error. None fails the request instead: without this setting a failure is never a
    number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeGpuConfig:
    """The roofline of the `sleep` backend; the defaults are an 8B model on an H200."""

    __pydantic_config__: ClassVar[Any] = STRICT

    flops_per_token: Positive = 1.5e10
    """FLOPs of the forward per token: 2 x the 7.5e9 parameters that a token passes through."""
    flops: Positive = 6e14
    """FLOP/s reached: about 0.6 of the dense bf16 peak of 989 TFLOP/s."""
    launch_s: NotNegative = 0.0
    """Fixed seconds per forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaConfig:
    """One replica's backend and when it counts as stuck. GPUs and counts belong to Serve's
    deployment block."""

    __pydantic_config__: ClassVar[Any] = STRICT

    backend: Literal["engine", "sleep"] = "engine"
    """`engine` scores; `sleep` is a fake GPU for tests and for measuring the control plane."""
    fake_gpu: FakeGpuConfig = field(default_factory=FakeGpuConfig)
    """The device that `sleep` imitates."""
    stuck_after_s: Positive = 300.0
    """Seconds after which a running forward counts as stuck and its replica is replaced."""
    gpus_may_join: bool = False
    """Deploy even if no node has a GPU yet, because an autoscaler (KubeRay, Ray's own) will add
    one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsConfig:
    """The `user_config` of the Replica deployment; a change rolls through the replicas in place."""

    __pydantic_config__: ClassVar[Any] = STRICT

    model: Text | None = None
    """As `EngineConfig.model`; None keeps the engine section's."""
    revision: Text | None = None
    """As `EngineConfig.revision`; None beside a None `model` keeps the engine section's."""
    drop_old_first: bool = False
    """Drop the old weights before loading the new ones, for a device that cannot hold both.
    Meanwhile the replica answers nothing; if the new weights cannot be loaded, it is replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """The `args` of the Serve application."""

    __pydantic_config__: ClassVar[Any] = STRICT

    engine: EngineConfig = field(default_factory=EngineConfig)
    replica: ReplicaConfig = field(default_factory=ReplicaConfig)
    scheduler: SchedulerConfig = field(default_factory=SchedulerConfig)
    http: HttpConfig = field(default_factory=HttpConfig)
