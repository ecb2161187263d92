"""Dead letters, listed, shown and sent again from the command line, on a real store."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest
from click.testing import Result
from relay_kit import META, PEOPLE, advance, alter, claim_one, conversation, reply

from gateway import keys, people
from gateway.relay.delivery import DeadLettered, Reason
from gateway.relay.queue import Queue, Settlement
from gateway.store import Store
from tests.gateway.cli.cli_kit import SECRET, gateway, process

Call = Callable[..., Awaitable[Result]]

FAILED = DeadLettered(Reason.ATTEMPTS, "status 500", 500)
GONE = DeadLettered(Reason.GONE, "status 410", 410)


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(store)


async def die(
    store: Store, queue: Queue, number: int, outcome: DeadLettered = FAILED, host: str = "client.example"
) -> str:
    """Let a reply of that conversation die, a second after the one before; give its id."""
    await reply(store, queue, "Hello!", conversation(number), webhook=f"https://{host}/hook?token=s3cret")
    delivery = await claim_one(queue)
    await queue.settle([Settlement(delivery, outcome, b'{"completion":["Hello!"]}')])
    advance(store, timedelta(seconds=1))
    return delivery.id


async def dead(store: Store) -> set[str]:
    """Give the ids of all that is dead."""
    return {one for shard in keys.all_shards() for one in await store.redis.zrange(shard.dead, 0, -1)}


async def test_dead_letters_are_listed_newest_first_without_what_is_secret(
    on_store: Call, store: Store, queue: Queue
) -> None:
    ids = [await die(store, queue, number) for number in range(3)]
    result = await on_store("dead-letters", "list")
    assert result.exit_code == 0
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["DIED_AT", "ID", "REASON", "CAUSE", "HOST"]
    assert [row.split()[1] for row in rows] == ids[::-1]
    assert all(row.endswith("attempts  status 500  client.example") for row in rows)
    assert "s3cret" not in result.output
    assert "Hello" not in result.output


async def test_a_list_is_cut_and_says_so(on_store: Call, store: Store, queue: Queue) -> None:
    ids = [await die(store, queue, number) for number in range(3)]
    result = await on_store("dead-letters", "list", "--limit", "2", "--json")
    assert [letter["id"] for letter in json.loads(result.stdout)["dead_letters"]] == ids[:0:-1]
    assert "more than these 2" in result.stderr


async def test_a_list_is_of_what_agrees_with_the_filters(on_store: Call, store: Store, queue: Queue) -> None:
    await die(store, queue, 1)
    gone = await die(store, queue, 2, GONE, "other.example:8443")
    for flags in (("--reason", "gone"), ("--host", "other.example:8443"), ("--user", "u-1", "--reason", "gone")):
        result = await on_store("dead-letters", "list", "--json", *flags)
        assert [letter["id"] for letter in json.loads(result.stdout)["dead_letters"]] == [gone]
    nobody = await on_store("dead-letters", "list", "--bot", "b-9")
    assert (nobody.exit_code, nobody.stdout, nobody.stderr) == (0, "", "There is none.\n")


async def test_one_dead_letter_is_shown(on_store: Call, store: Store, queue: Queue) -> None:
    reply_id = await die(store, queue, 1)
    shown = json.loads((await on_store("dead-letters", "show", reply_id, "--json")).stdout)
    assert (shown["id"], shown["reason"], shown["status"], shown["attempts"]) == (reply_id, "attempts", 500, 1)
    assert (shown["tenant"], shown["bot_id"], shown["turn_ids"]) == (META["tenant"], "b-1", [reply_id])
    lines = (await on_store("dead-letters", "show", reply_id)).stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(shown)
    assert "host             client.example" in lines


async def test_what_a_terminal_might_obey_comes_out_escaped(on_store: Call, store: Store, queue: Queue) -> None:
    reply_id = await die(store, queue, 1)
    named = people.encode(msgspec.structs.replace(PEOPLE, user_id="\x1b[2J\n"))
    await alter(store, conversation(1).shard.reply(reply_id), "meta", named.decode())
    result = await on_store("dead-letters", "show", reply_id)
    assert r"user_id          \x1b[2J\n" in result.stdout


async def test_an_unknown_dead_letter_is_not_shown(on_store: Call) -> None:
    result = await on_store("dead-letters", "show", "nothing")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: nothing: no such dead letter\n")


async def test_what_would_be_sent_is_shown_before_it_is_asked_for(on_store: Call, store: Store, queue: Queue) -> None:
    ids = [await die(store, queue, number) for number in range(7)]
    declined = await on_store("dead-letters", "redrive", "--all", typed="n\n")
    assert (declined.exit_code, declined.stdout.splitlines()[-1]) == (0, "0 sent again")
    assert "7 dead letters to send again, the newest of them:" in declined.stderr
    assert "and 2 more" in declined.stderr
    assert [one in declined.stderr for one in ids] == [False] * 2 + [True] * 5
    assert await dead(store) == set(ids)
    agreed = await on_store("dead-letters", "redrive", "--all", typed="y\n")
    assert agreed.stdout.splitlines()[-1] == "7 sent again"
    assert await dead(store) == set()
    assert (await queue.count()).due == 7


async def test_without_an_answer_nothing_is_sent(on_store: Call, store: Store, queue: Queue) -> None:
    reply_id = await die(store, queue, 1)
    assert (await on_store("dead-letters", "redrive", "--all", typed="")).exit_code == 1
    assert await dead(store) == {reply_id}


async def test_a_preview_sends_nothing(on_store: Call, store: Store, queue: Queue) -> None:
    reply_id = await die(store, queue, 1)
    result = await on_store("dead-letters", "redrive", "--all", "--dry-run", "--yes", "--json")
    assert json.loads(result.stdout) == {"found": 1, "redriven": 0}
    assert await dead(store) == {reply_id}


async def test_what_agrees_with_the_filters_is_sent_again(on_store: Call, store: Store, queue: Queue) -> None:
    failed = await die(store, queue, 1)
    gone = await die(store, queue, 2, GONE)
    result = await on_store("dead-letters", "redrive", "--reason", "gone", "--yes", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, {"found": 1, "redriven": 1})
    assert await dead(store) == {failed}
    assert (await claim_one(queue)).id == gone


async def test_dead_letters_are_sent_again_by_their_ids(on_store: Call, store: Store, queue: Queue) -> None:
    ids = [await die(store, queue, number) for number in range(3)]
    result = await on_store("dead-letters", "redrive", ids[0], ids[2], ids[0], "--yes", "--json")
    assert json.loads(result.stdout) == {"found": 2, "redriven": 2}
    assert await dead(store) == {ids[1]}


async def test_an_unknown_id_among_the_ids_stops_all_of_it(on_store: Call, store: Store, queue: Queue) -> None:
    reply_id = await die(store, queue, 1)
    result = await on_store("dead-letters", "redrive", reply_id, "nothing", "--yes")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nothing: no such dead letter; none was sent again" in result.stderr
    assert await dead(store) == {reply_id}


async def test_where_there_is_nothing_to_send_again_nothing_is_asked(on_store: Call) -> None:
    result = await on_store("dead-letters", "redrive", "--all")
    assert (result.exit_code, result.stdout) == (0, "0 sent again\n")
    assert "There is no such dead letter." in result.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("--all", "an-id"), ("--all", "--reason", "gone"), ("an-id", "--host", "h"), ("--reason", "none")]
)
def test_a_redrive_needs_ids_or_filters_or_all(arguments: tuple[str, ...]) -> None:
    result = gateway("dead-letters", "redrive", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")


async def test_the_command_works_as_a_process(store: Store, store_url: str, queue: Queue) -> None:
    reply_id = await die(store, queue, 1)
    result = process(
        *("dead-letters", "redrive", "--host", "client.example", "--yes"),
        GATEWAY_REDIS_URL=store_url,
        GATEWAY_SECRET=SECRET,
    )
    assert (result.returncode, result.stdout) == (0, "1 sent again\n")
    assert reply_id in result.stderr
    assert await dead(store) == set()
