"""OpenAPI schemas: the contract of bodies and answers in words.

No request is parsed with these models: `request_parser` reads bodies and `responses` writes
answers, by hand and faster. Tests hold both to these models.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr
from pydantic.json_schema import models_json_schema

from cluster.config import MAX_PRIORITY
from cluster.types import Numerics, TransformName

REFERENCE = "#/components/schemas/{model}"


class Body(BaseModel):
    """Unknown keys are refused, so that a typo is no silent default."""

    model_config = ConfigDict(extra="forbid")


class TextPart(BaseModel):
    """A part of a content. Other keys are ignored."""

    type: Literal["text"]
    text: StrictStr


Content = Annotated[
    StrictStr | Annotated[list[TextPart], Field(min_length=1)],
    Field(description="A text, or text parts, which are joined by a newline."),
]


class ChatMessage(BaseModel):
    """One turn. Other keys are ignored."""

    role: Annotated[StrictStr, Field(pattern=r"\S", examples=["user"])]
    content: Annotated[Content, Field(examples=["What is 2 + 2?"])]


Messages = Annotated[list[ChatMessage], Field(min_length=1)]
Prompt = Annotated[
    Messages | StrictStr, Field(description="The chat so far; a string is one user message.")
]


class Chat(Body):
    """A whole chat; the last assistant message is judged."""

    messages: Messages


class Pair(Body):
    """A prompt and the assistant's response to it."""

    prompt: Prompt
    response: StrictStr


class Group(Body):
    """Several responses to one prompt, which is computed once. One result per response."""

    prompt: Prompt
    responses: Annotated[list[StrictStr], Field(min_length=1)]


class Templated(Body):
    """Text that already went through the chat template; a BOS is added by the model's policy."""

    text: Annotated[StrictStr, Field(min_length=1)]


class Ids(Body):
    """Token ids of this model's tokenizer, scored exactly as they are."""

    ids: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1)]


Item = Chat | Pair | Group | Templated | Ids


class Transform(Body):
    """One reward transform, see the settings `http.transforms`."""

    name: TransformName
    parameters: dict[str, Any] = {}


class Terms(Body):
    """Priority and deadline of the call, and what is recorded beside its rewards."""

    priority: Annotated[
        StrictInt,
        Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="Higher is sooner."),
    ] = 0
    deadline_s: Annotated[
        float | None,
        Field(gt=0, description="Seconds from now; the service's own limit holds as well."),
    ] = None
    transforms: Annotated[
        list[Transform | TransformName] | None,
        Field(
            description="Applied in turn beside the raw rewards; responses to one prompt are a "
            "group. Null: the service's own, by default none."
        ),
    ] = None


class ScoreRequest(Terms):
    """Conversations to score, in any mix of the forms."""

    conversations: list[Item]


class RankRequest(Terms):
    """Responses to one prompt, to be put in order."""

    prompt: Prompt
    responses: Annotated[list[StrictStr], Field(min_length=1)]


class Place(BaseModel):
    """Where in the request a result belongs."""

    item: Annotated[int, Field(description="Index into `conversations`.")]
    response: Annotated[int | None, Field(description="Index into `responses` of a group.")] = None


class Scored(Place):
    """A reward, and how it was computed."""

    reward: Annotated[float, Field(description="The model's raw logit, untransformed.")]
    transformed_reward: Annotated[
        float | None, Field(description="After the answer's `transforms`; only with some.")
    ] = None
    n_tokens: Annotated[int, Field(description="Tokens scored.")]
    n_bos: Annotated[int, Field(description="Leading BOS tokens among them.")]
    truncated: Annotated[bool, Field(description="Whether the start of the chat was cut.")]
    queue_s: Annotated[float, Field(description="Seconds waited for a device.")]
    forward_s: Annotated[float, Field(description="Seconds of the batch's forward.")]
    model: str
    revision: Annotated[str, Field(description="Revision of the weights.")]
    numerics: Numerics


class ErrorDetail(BaseModel):
    """Why there is no reward, and how to fix it."""

    code: Annotated[str, Field(description="The error's class.", examples=["too_long"])]
    message: str
    item: Annotated[int | None, Field(description="Index of the item, null for the whole call.")]


class Failed(Place):
    """An item without a reward."""

    error: ErrorDetail


Transforms = Annotated[
    list[Transform] | None,
    Field(description="What made each `transformed_reward`, in turn; only where there are some."),
]


class ScoreResponse(BaseModel):
    """One result per conversation, one per response of a group, in the request's order.

    `model` and `revision` are null if results differ (new weights are replacing old ones) or
    nothing was asked for; each result names its own.
    """

    model: str | None
    revision: str | None
    results: list[Scored | Failed]
    transforms: Transforms = None


class Tokenized(Place):
    """A conversation as the model reads it."""

    ids: Annotated[list[int], Field(description="Token ids, special tokens included.")]
    tokens: Annotated[list[str], Field(description="The text of each id.")]
    prompt_len: Annotated[int, Field(description="Tokens before the response; 0: no such split.")]
    n_bos: Annotated[int, Field(description="Leading BOS tokens among them.")]
    truncated: Annotated[bool, Field(description="Whether the start of the chat was cut.")]


class TokenizeResponse(BaseModel):
    """One result per conversation, one per response of a group, in the request's order."""

    results: list[Tokenized | Failed]


class RankResponse(BaseModel):
    """Best first; of equal rewards the first given comes first; errors come last."""

    model: str | None
    revision: str | None
    ranking: list[Scored | Failed]
    transforms: Transforms = None


class ErrorResponse(BaseModel):
    """The whole call failed. results: every item's error, where nothing could be scored."""

    error: ErrorDetail
    request_id: Annotated[str, Field(description="Names the request in the service's log.")]
    results: list[Failed] | None = None


class Health(BaseModel):
    status: Literal["ok", "ready"]


SCORE_EXAMPLE: dict[str, Any] = {
    "conversations": [
        {
            "messages": [
                {"role": "user", "content": "What is 2 + 2?"},
                {"role": "assistant", "content": "2 + 2 is 4."},
            ]
        },
        {"prompt": "Name a prime.", "responses": ["7", "8"]},
    ],
    "priority": 0,
    "deadline_s": 60,
}
RANK_EXAMPLE: dict[str, Any] = {"prompt": "Name a prime.", "responses": ["8", "7"]}


def request_body(model: type[BaseModel], example: dict[str, Any]) -> dict[str, Any]:
    """The `requestBody` of an operation; the model itself is one of `request_schemas`."""
    content = {"schema": {"$ref": REFERENCE.format(model=model.__name__)}, "example": example}
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


def request_schemas() -> dict[str, Any]:
    """JSON schemas of the bodies, for the document's components."""
    _, definitions = models_json_schema(
        [(ScoreRequest, "validation"), (RankRequest, "validation")], ref_template=REFERENCE
    )
    found: dict[str, Any] = definitions["$defs"]
    return found
