"""Who may use the operators' endpoints, by where a request comes from."""

import httpx
import pytest
from starlette.applications import Starlette

from gateway import edge
from gateway.admin import Admin
from gateway.bodies import Bodies
from gateway.store import Store

TOKEN = "the-admins-token-4711"


async def status(store: Store, token: str, peer: str, authorization: str | None = None) -> int:
    admin = Admin(store=store, token=token, bodies=Bodies(1000, 1), dialect="v3", base_url="http://upstream")
    application = edge.Edge(Starlette(routes=admin.routes(), exception_handlers=dict(edge.HANDLERS)))
    transport = httpx.ASGITransport(application, client=(peer, 1))
    headers = {} if authorization is None else {"Authorization": authorization}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.get("/admin/breakers", headers=headers)).status_code


@pytest.mark.parametrize(
    ("peer", "expected"), [("127.0.0.1", 200), ("127.8.8.8", 200), ("::1", 200), ("10.0.0.1", 403), ("", 403)]
)
async def test_without_a_token_only_this_machine_may_ask(store: Store, peer: str, expected: int) -> None:
    assert await status(store, "", peer) == expected


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.0.0.1"])
async def test_with_a_token_it_counts_and_not_the_place(store: Store, peer: str) -> None:
    assert await status(store, TOKEN, peer) == 401
    assert await status(store, TOKEN, peer, f"Bearer {TOKEN[:-1]}") == 401
    assert await status(store, TOKEN, peer, f"bearer {TOKEN}") == 200
