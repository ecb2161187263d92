"""The vendor's own client works against the emulator, unchanged: what it takes for ChatBotKit is what we emulate.

Needs Node and a package registry that npm can reach; skipped with the reason where one of them is missing.
"""

import asyncio
import json
import shutil
import tempfile
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.sandbox import SandboxSettings, serve

PACKAGE = "@chatbotkit/sdk@1.36.0"
LEAST_NODE = 20
SECONDS = 120

SCRIPT = Path(__file__).with_name("chatbotkit.mjs")


async def run(*command: str, cwd: Path) -> tuple[int | None, str]:
    """Run a program, and give its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(*command, cwd=cwd, stdout=PIPE, stderr=STDOUT)
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return None, f"{command[0]} did not end within {SECONDS} s"
    return process.returncode, output.decode(errors="replace")


@pytest.fixture(scope="module")
async def sdk(anyio_backend: object) -> AsyncIterator[Path]:
    """Install the vendor's client into a directory that is thrown away."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm, which are not installed here")
    with tempfile.TemporaryDirectory(prefix="vendor-sdk-") as name:
        directory = Path(name)
        _, version = await run(node, "--version", cwd=directory)
        if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
            pytest.skip(f"{PACKAGE} needs node {LEAST_NODE} or newer, not {version.strip()}")
        (directory / "package.json").write_text('{"private": true, "type": "module"}')
        options = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
        status, said = await run(npm, "install", *options, PACKAGE, cwd=directory)
        if status != 0:
            pytest.skip(f"npm cannot install {PACKAGE} here: {said.strip().splitlines()[-1:]}")
        shutil.copy(SCRIPT, directory)
        yield directory


async def drive(directory: Path) -> dict[str, Any]:
    """Run the script against a sandbox of its own."""
    async with serve(SandboxSettings().fast()) as url:
        status, said = await run("node", SCRIPT.name, url, cwd=directory)
    assert status == 0, said
    seen: dict[str, Any] = json.loads(said.splitlines()[-1])
    return seen


async def test_the_vendors_client_does_all_its_work_against_the_emulator(sdk: Path) -> None:
    seen = await drive(sdk)
    conversation_id = seen["created"]["id"]
    assert seen["created"]["messages"] == [{"type": "bot", "text": "Hi!"}]
    assert [one["id"] for one in seen["listed"]["items"]] == [conversation_id]
    assert [one["meta"] for one in seen["rest"]["items"]] == [{"user": "eva"}]
    assert [one["id"] for one in seen["filtered"]["items"]] == [conversation_id]
    assert [line["data"]["meta"]["user"] for line in seen["streamedList"]] == ["max", "eva"]
    assert seen["updated"] == seen["deleted"] == {"id": conversation_id}
    assert seen["fetched"]["meta"] == {"user": "max", "age": 30}
    assert seen["completed"]["end"] == {"reason": "stop"}
    [sent] = seen["streamedSend"]
    heard, both = (
        next(event["data"] for event in seen[name] if event["type"] == "result")
        for name in ("streamedReceive", "streamedComplete")
    )
    for name in ("streamedReceive", "streamedComplete"):
        text = "".join(event["data"]["token"] for event in seen[name] if event["type"] == "token")
        assert text in {heard["text"], both["text"]}
    expected = [
        ("bot", "Hi!"),
        ("user", "Hello?"),
        ("bot", seen["received"]["text"]),
        ("user", "And now?"),
        ("bot", seen["completed"]["text"]),
        ("user", "One more."),
        ("bot", heard["text"]),
        ("user", "The last one."),
        ("bot", both["text"]),
    ]
    assert [(one["type"], one["text"]) for one in seen["messages"]["items"]] == expected
    ids = {one["id"] for one in seen["messages"]["items"]}
    assert {seen["sent"]["id"], seen["received"]["id"], sent["data"]["id"], heard["id"], both["id"]} <= ids
    assert seen["gone"] == {"message": "There is no such conversation.", "code": "NOT_FOUND"}
    assert seen["stranger"] == {"message": "Not authenticated", "code": "NOT_AUTHENTICATED"}
