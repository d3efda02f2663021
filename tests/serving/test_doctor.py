"""The doctor's look at a running application, over a real one."""

from __future__ import annotations

import pytest

from cluster.doctor.service import app_checks
from cluster.serving.client.connect import disconnect

pytestmark = pytest.mark.ray


def test_a_running_application_has_no_problem_and_scores_a_chat(plain_app: str) -> None:
    found = {check.name: check for check in app_checks(plain_app)}
    assert {check.state for check in found.values()} == {"ok"}, found
    assert found["Replica"].found.startswith("2 running")
    assert found["scoring"].found.startswith("a chat of ")
    assert disconnect(plain_app)


def test_one_that_is_not_there_is_told_with_what_is(plain_app: str) -> None:
    [missing] = app_checks("another")
    assert missing.state == "problem"
    assert plain_app in missing.found
