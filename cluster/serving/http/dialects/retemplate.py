"""Re-templating: text in another model's chat template, parsed back into messages.

The reward model's own template is applied to them afterwards. Text that cannot be parsed as a whole
is an error, never half a chat.
"""

from __future__ import annotations

import re

from cluster.errors import InvalidInput
from cluster.types import Conversation, ForeignTemplate, Message

_TURNS: dict[ForeignTemplate, tuple[re.Pattern[str], str]] = {
    "chatml": (
        re.compile(r"\s*<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>\n?|\Z)", re.DOTALL),
        r"<\|(?:endoftext|begin_of_text)\|>|<s>|<bos>",
    ),
    "llama3": (
        re.compile(
            r"\s*<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n(.*?)(?:<\|eot_id\|>|\Z)",
            re.DOTALL,
        ),
        r"<\|begin_of_text\|>|<\|end_of_text\|>",
    ),
    "gemma": (
        re.compile(r"\s*<start_of_turn>(\w+)\n(.*?)(?:<end_of_turn>\n?|\Z)", re.DOTALL),
        r"<bos>|<eos>",
    ),
}
"""A turn as (role, content), and what may precede the first and follow the last."""
_MARKERS = re.compile(
    r"<\|im_(?:start|end)\|>|<\|(?:start|end)_header_id\|>|<(?:start|end)_of_turn>"
)
_ROLES = {"model": "assistant"}


def untemplated(conversation: Conversation, template: ForeignTemplate | None) -> Conversation:
    """Templated text as its messages, where a rule is configured, and so a pair whose prompt is
    templated. Raises InvalidInput for such a pair without a rule: its prompt would be wrapped in a
    second template, and joined to its response it may lack the end of the turn."""
    if isinstance(conversation, tuple) and _is_templated(conversation[0]):
        if template is None:
            raise InvalidInput(
                "the prompt went through a chat template already; set http.retemplate to "
                "chatml, llama3 or gemma, or send its messages"
            )
        return messages_of("".join(conversation), template)
    if template is None or not isinstance(conversation, str):
        return conversation
    return messages_of(conversation, template)


def _is_templated(prompt: object) -> bool:
    return isinstance(prompt, str) and _MARKERS.search(prompt) is not None


def messages_of(text: str, template: ForeignTemplate) -> list[Message]:
    """The chat that `template` rendered as `text`. Raises InvalidInput."""
    turn, edge = _TURNS[template]
    text = re.sub(rf"\A(?:{edge})+|(?:{edge})+\s*\Z", "", text)
    place, found = 0, list[Message]()
    while place < len(text) and (match := turn.match(text, place)):
        role, content = match.groups()
        if _MARKERS.search(content):
            break
        found.append({"role": _ROLES.get(role, role), "content": content})
        place = match.end()
    if not found or text[place:].strip():
        raise InvalidInput(
            f"the text is not of the {template} chat template (http.retemplate) from character "
            f"{place} on; send text of that template, messages, or set http.retemplate otherwise"
        )
    return found
