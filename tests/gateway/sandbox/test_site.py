"""The pages show what happened, and trust nothing of it."""

import re
from collections.abc import Awaitable, Callable

import httpx
import pytest

from gateway.sandbox.driver import Driver
from gateway.sandbox.faults import RequestFault

Create = Callable[..., Awaitable[str]]

EVIL = '<script>alert("1")</script>'
ESCAPED = "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"


async def page(http: httpx.AsyncClient, path: str) -> str:
    answer = await http.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


@pytest.mark.parametrize("path", ["/", "/inbox", "/conversations", "/calls"])
async def test_an_empty_page_links_the_others_and_loads_nothing_from_elsewhere(
    http: httpx.AsyncClient, sandbox: Driver, path: str
) -> None:
    html = await page(http, path)
    for link in ("/", "/inbox", "/conversations", "/calls"):
        assert f'href="{link}"' in html
    assert not re.search(r'(src|href)="(https?:)?//', html)
    assert "None yet." in html or "Nothing yet." in html


async def test_only_the_page_s_own_style_and_script_may_run(http: httpx.AsyncClient) -> None:
    answer = await http.get("/inbox")
    policy = answer.headers["content-security-policy"]
    (nonce,) = set(re.findall(r'nonce="([^"]+)"', answer.text))
    assert f"script-src 'nonce-{nonce}'" in policy
    assert "default-src 'none'" in policy
    assert nonce not in (await http.get("/inbox")).text


async def test_the_landing_page_says_where_to_point_a_client(
    http: httpx.AsyncClient, sandbox: Driver, base_url: str
) -> None:
    html = await page(http, "/")
    assert f"<code>{base_url}</code>" in html
    assert f"<code>{base_url}/inbox/any/path</code>" in html
    assert "<td>PATCH</td><td><code>/api/conversations/{conversation_id}</code></td>" in html
    assert "Change the settings that the body names" in html


async def test_deliveries_are_shown_escaped_and_newest_first(http: httpx.AsyncClient, sandbox: Driver) -> None:
    await http.post("/inbox/first", json={"text": EVIL}, headers={"X-Evil": EVIL})
    await http.post("/inbox/second?q=%3Cb%3E", content=EVIL)
    html = await page(http, "/inbox")
    assert EVIL not in html
    assert ESCAPED in html
    assert "&lt;script&gt;alert(\\&quot;1\\&quot;)&lt;/script&gt;" in html
    assert html.index("/second?q=%3Cb%3E") < html.index("/first")
    assert EVIL not in await page(http, "/")


async def test_a_failing_answer_is_shown(http: httpx.AsyncClient, sandbox: Driver) -> None:
    await sandbox.arm(RequestFault(path="/inbox/*", when="after", status=503))
    await http.post("/inbox/a")
    assert '<span class="bad">503 json after effect</span>' in await page(http, "/inbox")


async def test_a_conversation_is_shown_escaped(
    http: httpx.AsyncClient, api: httpx.AsyncClient, create: Create, sandbox: Driver
) -> None:
    media = {"url": 'https://a.example/"><script>.png'}
    lines = [{"text": EVIL, "from_bot": True}, {"text": "see", "from_bot": False, "attached_media": media}]
    conversation_id = await create(f"max{EVIL}", with_messages=lines, platform=EVIL)
    for path in ("/", "/conversations", f"/conversations/{conversation_id}"):
        html = await page(http, path)
        assert EVIL not in html
        assert conversation_id in html
    assert ESCAPED in html
    assert "&quot;&gt;&lt;script&gt;.png" in html


async def test_an_unknown_conversation_is_404(http: httpx.AsyncClient) -> None:
    assert (await http.get("/conversations/none")).status_code == 404


async def test_calls_are_shown_without_their_keys(
    http: httpx.AsyncClient, api: httpx.AsyncClient, sandbox: Driver
) -> None:
    await api.post("/api/users", json={"username": EVIL})
    await sandbox.arm(RequestFault(action="drop"))
    with pytest.raises(httpx.TransportError):
        await api.get("/api/users")
    html = await page(http, "/calls")
    assert EVIL not in html
    assert "key-one" not in html
    assert '<span class="bad">cut</span>' in html
    assert "drop before effect" in html
    assert '<span class="good">200</span>' in html


async def test_the_process_says_that_it_lives(http: httpx.AsyncClient) -> None:
    assert (await http.get("/livez")).text == "ok\n"
