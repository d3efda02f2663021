"""The compare page in a real browser, before a live service."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.console import KEY

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("served")]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'><b>{{7*7}}"


def rank(page: Any) -> list[str]:
    """Ranks what is there; the texts of the cards, best first."""
    page.get_by_role("button", name="Rank", exact=True).click()
    page.locator(".results:not(.stale) .card").first.wait_for()
    texts: list[str] = page.locator(".card .text").all_text_contents()
    return texts


def paste(page: Any, text: str) -> None:
    page.get_by_role("button", name="Paste …").click()
    page.get_by_label("Conversation to paste").fill(text)
    page.get_by_role("button", name="Take it").click()


def test_responses_are_ranked_by_the_service(page: Any) -> None:
    assert sorted(rank(page)) == sorted(["7 + 5 = 12", "7 + 5 = 13", "Bananas are yellow."])
    rewards = [float(text) for text in page.locator(".card .reward").all_text_contents()]
    assert rewards == sorted(rewards, reverse=True)
    assert "P(1 beats 2) = " in page.locator(".verdict").text_content()


def test_a_wrong_key_is_told_and_the_right_one_opens(page: Any) -> None:
    page.get_by_label("API key").fill("wrong")
    page.get_by_role("button", name="Rank", exact=True).click()
    page.locator("#compare .message", has_text="send one of the service's keys").first.wait_for()
    assert page.locator(".card").count() == 0
    page.get_by_label("API key").fill(KEY)
    assert len(rank(page)) == 3


def test_an_error_of_one_response_stands_at_its_place(page: Any) -> None:
    page.get_by_label("Response 3", exact=True).fill("word " * 5000)
    rank(page)
    [failed] = page.locator(".card.failed").all_text_contents()
    assert "too_long" in failed
    assert page.locator(".card:not(.failed)").count() == 2


@pytest.mark.parametrize(
    ("text", "n_turns", "responses"),
    [
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], 1, ["b"]),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            1,
            ["b"],
        ),
        ({"prompt": "a", "responses": ["b", "c"]}, 1, ["b", "c"]),
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, 1, ["b", "c"]),
        ("User: a\nAssistant: b\nUser: c\nAssistant: d", 3, ["d"]),
    ],
    ids=["messages", "ShareGPT", "group", "pair", "plain text"],
)
def test_conversations_are_pasted_in_any_form(
    page: Any, text: Any, n_turns: int, responses: list[str]
) -> None:
    paste(page, text if isinstance(text, str) else json.dumps(text))
    assert page.locator("[aria-label^='Role of turn']").count() == n_turns
    assert [box.input_value() for box in page.locator(".responses textarea").all()] == responses


def test_what_cannot_be_pasted_is_told_in_the_dialog(page: Any) -> None:
    paste(page, '{"no": "conversation"}')
    assert "Known forms" in page.locator("dialog .message").text_content()


def test_the_tokens_are_shown_with_their_special_ones(page: Any) -> None:
    rank(page)
    page.locator("summary").first.click()
    page.locator(".token").first.wait_for()
    assert "<|eot_id|>" in page.locator(".token.special").all_text_contents()[-1]


def test_a_link_restores_the_comparison_and_tells_no_server(page: Any, url: str) -> None:
    page.get_by_label("Response 1", exact=True).fill("grüße 🙂")
    rank(page)
    asked: list[str] = []
    other = page.context.new_page()
    other.on("request", lambda request: asked.append(request.url))
    other.goto(page.url)
    assert other.get_by_label("Response 1", exact=True).input_value() == "grüße 🙂"
    assert all("#" not in each for each in asked)


def test_hostile_text_stays_text_in_every_field(page: Any) -> None:
    paste(
        page, json.dumps([{"role": HOSTILE, "content": HOSTILE}, {"role": "user", "content": "x"}])
    )
    page.get_by_label("Response 1", exact=True).fill(HOSTILE)
    assert HOSTILE in rank(page)
    page.locator("summary").first.click()
    page.locator(".token").first.wait_for()
    assert page.locator("main img, main script, main b").count() == 0


def test_the_keyboard_alone_is_enough(page: Any) -> None:
    page.get_by_label("Response 1", exact=True).focus()
    page.keyboard.type(" and no more")
    page.keyboard.press("Control+Enter")
    page.locator(".card").first.wait_for()
    page.get_by_role("tab", name="Compare").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#explore").is_visible()
    assert page.evaluate("document.activeElement.id") == "tab-explore"


def test_a_phone_shows_all_of_it_without_scrolling_sideways(phone: Any) -> None:
    rank(phone)
    phone.locator("summary").first.click()
    phone.locator(".token").first.wait_for()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
