"""Everyday questions: each has an answer, and none is one of the demo's chats."""

from cluster.demo.chats import packaged_chats, read_demo_groups
from cluster.tiny.dialogues.everyday import everyday_dialogues


def test_no_question_and_no_answer_is_in_the_demo() -> None:
    ours = {text for one in everyday_dialogues() for text in (one.prompt[0]["content"], one.reply)}
    demo = list(read_demo_groups(packaged_chats()))
    prompts = {str(turn["content"]) for group in demo for turn in group.prompt}
    assert prompts
    assert not ours & (prompts | {text for group in demo for text in group.responses})


def test_each_question_and_each_answer_stands_once() -> None:
    everyday = everyday_dialogues()
    assert len(everyday) > 90
    assert len({one.prompt[0]["content"] for one in everyday}) == len(everyday)
    assert len({one.reply for one in everyday}) == len(everyday)
