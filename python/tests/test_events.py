"""Events and numbers of the server."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import ckpt


def test_what_happens_is_told_as_it_happens() -> None:
    client = ckpt.Client()
    with client.events() as events:
        with ckpt.Sandbox.create(client=client) as sb:
            snapshot = sb.save()
            sb.restore(snapshot)
        snapshot.delete()
        told = []
        for event in events:
            if event.sandbox == sb.name or event.kind == "deleted":
                told.append(event)
            if event.kind == "deleted":
                break
    kinds = [event.kind for event in told if event.kind != "progress"]
    assert kinds == ["created", "saved", "restored", "removed", "deleted"]
    saved = next(event for event in told if event.kind == "saved")
    assert saved.snapshot == snapshot.id and saved.timings.total_ms > 0
    again = client.events(since=told[0].id, sandbox=sb.name, kinds=["saved", "removed"], follow=False)
    assert [event.kind for event in again] == ["saved", "removed"]
    client.close()


def test_events_of_one_sandbox(sb: ckpt.Sandbox) -> None:
    with sb.events(kinds=["paused"]) as events:
        sb.pause()
        assert next(events).kind == "paused"
        sb.unpause()


def test_async_events() -> None:
    async def scenario() -> str:
        client = ckpt.AsyncClient()
        async with await client.events(kinds=["removed"]) as events:
            async with ckpt.AsyncSandbox.create() as sb:
                pass
            event = await events.__anext__()
            assert event.sandbox == sb.name
            return event.kind

    assert asyncio.run(scenario()) == "removed"


def test_another_thread_or_task_stops_watching() -> None:
    client = ckpt.Client()
    events = client.events(kinds=["created"])
    told: list[str] = []

    def watch() -> None:
        for event in events:
            told.append(event.kind)

    watching = threading.Thread(target=watch)
    watching.start()
    with ckpt.Sandbox.create():
        pass
    while told != ["created"]:
        time.sleep(0.01)
    # It waits for another one by now, or is about to.
    events.close()
    watching.join(30)
    assert not watching.is_alive() and list(events) == []
    client.close()

    async def scenario() -> list[str]:
        client = ckpt.AsyncClient()
        events = await client.events(kinds=["created"])

        async def watch() -> list[str]:
            return [event.kind async for event in events]

        task = asyncio.create_task(watch())
        await asyncio.sleep(0.05)
        await events.close()
        return await asyncio.wait_for(task, 30)

    assert asyncio.run(scenario()) == []


def test_what_cannot_be_watched() -> None:
    with pytest.raises(ckpt.InvalidOption):
        ckpt.Client.default().events(kinds=["no-such-kind"])


def test_numbers(sb: ckpt.Sandbox) -> None:
    sb.exec("true")
    numbers = ckpt.Client.default().metrics()
    assert numbers['ckpt_operations_total{operation="exec",result="ok"}'] >= 1
