"""The directory of conversations, looked into and forgotten from the command line."""

import json
from collections.abc import Awaitable, Callable

from click.testing import Result

from gateway import auth, keys
from gateway.store import Store
from tests import entries
from tests.gateway.cli.cli_kit import SECRET, gateway
from tests.gateway.cli.conftest import V3_URL

Call = Callable[..., Awaitable[Result]]
KEY = "client-key-1"
TENANT = auth.Authenticator([SECRET.encode()], {}).authenticate(f"Bearer {KEY}").tenant


async def known(store: Store) -> None:
    """Let the directory know the conversation of b-1 and u-1."""
    digest = keys.conversation_digest(dialect="v3", base_url=V3_URL, tenant=TENANT, bot_id="b-1", user_id="u-1")
    await entries.know(store, keys.ConversationKeys(digest), "c-1", tail="d1 d2")


async def test_a_conversation_is_shown_to_who_has_the_key_or_the_tenants_digest(on_store: Call, store: Store) -> None:
    await known(store)
    by_key = await on_store("conversations", "show", "b-1", "u-1", "--api-key", KEY, "--json")
    assert json.loads(by_key.stdout) == {"conversation_id": "c-1", "known_messages": ["d1", "d2"]}
    by_tenant = await on_store("conversations", "show", "b-1", "u-1", "--tenant", TENANT)
    assert "conversation_id  c-1\n" in by_tenant.stdout


async def test_another_key_sees_nothing_of_it(on_store: Call, store: Store) -> None:
    await known(store)
    result = await on_store("conversations", "show", "b-1", "u-1", "--api-key", "client-key-2")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "knows no such conversation" in result.stderr


async def test_a_forgotten_conversation_is_known_no_longer(on_store: Call, store: Store) -> None:
    await known(store)
    arguments = ("conversations", "forget", "b-1", "u-1", "--tenant", TENANT)
    forgotten = await on_store(*arguments)
    assert (forgotten.exit_code, forgotten.stdout) == (0, "forgotten\n")
    again = await on_store(*arguments, "--json")
    assert again.exit_code == 1
    assert json.loads(again.stdout) == {"forgotten": False}


async def test_a_key_that_is_none_is_refused(on_store: Call) -> None:
    result = await on_store("conversations", "show", "b-1", "u-1", "--api-key", "two words")
    assert result.exit_code == 1
    assert "visible ASCII" in result.stderr


def test_key_and_tenant_are_one_or_the_other() -> None:
    for given in ((), ("--api-key", KEY, "--tenant", TENANT)):
        assert gateway("conversations", "show", "b-1", "u-1", *given).exit_code == 2


def test_where_there_is_no_store_none_is_made() -> None:
    result = gateway(
        "conversations", "show", "b-1", "u-1", "--tenant", TENANT, "--v3-url", V3_URL, "--data-dir", "nowhere"
    )
    assert result.exit_code == 1
    assert "GATEWAY_DATA_DIR=nowhere: there is no store" in result.stderr


def test_a_store_that_is_away_is_named_without_its_login() -> None:
    result = gateway(
        *("conversations", "show", "b-1", "u-1", "--tenant", TENANT, "--v3-url", V3_URL),
        *("--redis-url", "redis://u:hidden@127.0.0.1:1/0"),
        GATEWAY_SECRET=SECRET,
    )
    assert result.exit_code == 1
    assert "GATEWAY_REDIS_URL=redis://***@127.0.0.1:1/0" in result.stderr
    assert "hidden" not in result.output
