from __future__ import annotations

import asyncio

import pytest

from cluster.serving.replica.exclusive_access import ExclusiveAccess, HoldLost

pytestmark = pytest.mark.usefixtures("virtual_time")


async def used(use: ExclusiveAccess, name: str, log: list[str], gate: asyncio.Event) -> None:
    async with use.shared():
        log.append(name)
        await gate.wait()
        log.append(f"{name} ends")


def test_a_hold_waits_for_those_before_it_and_those_after_it_wait_for_its_end() -> None:
    async def run() -> list[str]:
        use, log, gate = ExclusiveAccess(), list[str](), asyncio.Event()
        before = asyncio.create_task(used(use, "before", log, gate))
        await asyncio.sleep(0)
        hold = asyncio.create_task(use.hold())
        await asyncio.sleep(0)
        after = asyncio.create_task(used(use, "after", log, gate))
        await asyncio.sleep(0)
        assert not hold.done()
        gate.set()
        async with use.alone(await hold):
            log.append("alone")
            await asyncio.sleep(0.01)
            log.append("alone ends")
        await asyncio.gather(before, after)
        return log

    expected = ["before", "before ends", "alone", "alone ends", "after", "after ends"]
    assert asyncio.run(run()) == expected


def test_a_hold_that_is_not_used_is_over_and_blocks_nobody() -> None:
    async def run() -> None:
        use = ExclusiveAccess(hold_s=0.01)
        token = await use.hold()
        async with asyncio.timeout(10), use.shared():
            pass
        with pytest.raises(HoldLost):
            async with use.alone(token):
                raise AssertionError("it has run though its hold was over")

    asyncio.run(run())


def test_two_holders_come_one_after_the_other() -> None:
    async def run() -> list[int]:
        use, seen = ExclusiveAccess(), list[int]()

        async def one(i: int) -> None:
            async with use.alone(await use.hold()):
                seen.append(i)
                await asyncio.sleep(0.001)
                seen.append(i)

        async with asyncio.timeout(10):
            await asyncio.gather(*(one(i) for i in range(5)))
        return seen

    seen = asyncio.run(run())
    assert seen[::2] == seen[1::2]
    assert sorted(seen[::2]) == [0, 1, 2, 3, 4]


def test_a_holder_that_gives_up_while_it_waits_lets_the_others_in() -> None:
    async def run() -> None:
        use, log, gate = ExclusiveAccess(), list[str](), asyncio.Event()
        before = asyncio.create_task(used(use, "before", log, gate))
        await asyncio.sleep(0)
        hold = asyncio.create_task(use.hold())
        await asyncio.sleep(0)
        hold.cancel()
        async with asyncio.timeout(10), use.shared():
            gate.set()
        await before

    asyncio.run(run())
