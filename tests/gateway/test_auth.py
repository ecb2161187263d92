import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import auth, errors
from gateway.settings import ConfigurationError

SECRETS = (b"the first secret of this test", b"the one before it, still taken")
DIGEST = "00112233445566778899aabbccddeeff"

digests = st.binary(min_size=16, max_size=16).map(bytes.hex)
keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=60)


def authenticator(**key_map: str) -> auth.Authenticator:
    return auth.Authenticator(SECRETS, key_map)


@given(keys)
def test_a_key_is_passed_on_as_it_came(key: str) -> None:
    assert authenticator().authenticate(f"Bearer {key}").upstream_key == key


@pytest.mark.parametrize("header", ["bearer k-1", "BEARER k-1", "Bearer   k-1", " Bearer k-1\t"])
def test_the_scheme_is_taken_in_any_case_and_spacing(header: str) -> None:
    assert authenticator().authenticate(header).upstream_key == "k-1"


def test_a_key_of_the_map_is_replaced_and_its_tenant_is_not() -> None:
    mapped = authenticator(old="new").authenticate("Bearer old")
    assert mapped.upstream_key == "new"
    assert mapped.tenant == authenticator().authenticate("Bearer old").tenant


def test_a_tenant_is_sixteen_hex_digits_that_stay_the_same() -> None:
    assert authenticator().authenticate("Bearer k-1").tenant == "4a67e759511729c9"


def test_tenants_differ_by_key_and_by_secret() -> None:
    other_secret = auth.Authenticator(SECRETS[::-1], {})
    callers = [authenticator().authenticate("Bearer k-1"), authenticator().authenticate("Bearer k-2")]
    assert len({*(caller.tenant for caller in callers), other_secret.authenticate("Bearer k-1").tenant}) == 3


@pytest.mark.parametrize(
    ("header", "complaint"),
    [
        (None, "required"),
        ("", "required"),
        ("   ", "scheme"),
        ("k-secret", "scheme"),
        ("Basic k-secret", "scheme"),
        ("Bearerk-secret", "scheme"),
        ("Bearer", "no API key"),
        ("Bearer ", "no API key"),
        ("Bearer k-secret k-secret", "visible"),
        ("Bearer k-secret\r\nX-Other: 1", "visible"),
        ("Bearer k-secret\n", "visible"),
        ("Bearer k-secret\0", "visible"),
        ("Bearer k-secrét", "visible"),
        ("Bearer " + "k" * (auth.MAX_KEY_CHARACTERS + 1), "more than 4096"),
    ],
)
def test_a_wrong_header_is_explained_without_being_shown(header: str | None, complaint: str) -> None:
    with pytest.raises(errors.Unauthorized) as caught:
        authenticator().authenticate(header)
    assert complaint in caught.value.message
    assert "k-secr" not in caught.value.message
    assert caught.value.status == 401


def test_the_longest_key_is_taken() -> None:
    key = "k" * auth.MAX_KEY_CHARACTERS
    assert authenticator().authenticate(f"Bearer {key}").upstream_key == key


def test_a_caller_does_not_show_its_key() -> None:
    caller = authenticator().authenticate("Bearer k-secret")
    assert "k-secret" not in repr(caller) + str(caller) + f"{caller}"
    assert caller.tenant in repr(caller)


@pytest.mark.parametrize(
    "pair", [("old", "new key"), ("old", "né"), ("o\nld", "new"), ("", "new"), ("old", "n" * 5000)]
)
def test_a_key_map_that_cannot_be_used_is_refused_at_the_start(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="entry 2") as caught:
        auth.Authenticator(SECRETS, {"good": "fine", pair[0]: pair[1]})
    assert "new" not in str(caught.value)


@given(digests)
def test_a_token_names_its_conversation(digest: str) -> None:
    tokens = auth.Tokens(SECRETS)
    token = tokens.sign(digest)
    assert tokens.verify(token) == digest
    assert len(token) == 43
    assert token.isascii()
    assert not set(token) & set("/+=?#%")


def test_a_token_stays_the_same_over_versions() -> None:
    assert auth.Tokens(SECRETS).sign(DIGEST) == "ABEiM0RVZneImaq7zN3u_7lmRocaX8U8-TgB3k6X_QA"


def test_a_token_of_an_older_secret_is_still_ours() -> None:
    assert auth.Tokens(SECRETS).verify(auth.Tokens(SECRETS[1:]).sign(DIGEST)) == DIGEST


def test_a_token_of_another_secret_is_not() -> None:
    assert auth.Tokens(SECRETS).verify(auth.Tokens([b"a stranger's own secret"]).sign(DIGEST)) is None


@given(digests, st.integers(0, 42), st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"))
def test_a_token_with_any_character_changed_is_refused(digest: str, place: int, character: str) -> None:
    tokens = auth.Tokens(SECRETS)
    token = tokens.sign(digest)
    changed = token[:place] + character + token[place + 1 :]
    assert tokens.verify(changed) == (digest if changed == token else None)


@given(st.text())
def test_text_that_is_no_token_is_refused(text: str) -> None:
    assert auth.Tokens(SECRETS).verify(text) is None


def test_a_token_cannot_be_moved_to_another_conversation() -> None:
    tokens = auth.Tokens(SECRETS)
    ours, others = (base64.urlsafe_b64decode(tokens.sign(one) + "=") for one in (DIGEST, DIGEST[::-1]))
    forged = base64.urlsafe_b64encode(others[:16] + ours[16:]).rstrip(b"=").decode()
    assert tokens.verify(forged) is None


def test_the_kept_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    made = auth.secret_in(data_dir)
    assert len(made) >= 43
    assert auth.secret_in(data_dir) == made
    assert stat.S_IMODE((data_dir / "secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert [file.name for file in data_dir.iterdir()] == ["secret"]
    assert auth.secret_in(tmp_path / "other") != made


def test_an_operator_s_own_secret_file_is_used(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("one that somebody wrote\n")
    assert auth.secret_in(tmp_path) == "one that somebody wrote"


ASK = """
import pathlib, sys
from gateway import auth
print("ready", flush=True)
sys.stdin.read(1)
print(auth.secret_in(pathlib.Path(sys.argv[1])))
"""


def test_processes_that_start_at_once_get_one_secret(tmp_path: Path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin
        process.stdin.write("!")
        process.stdin.flush()
    answers = {process.communicate()[0] for process in started}
    assert [process.returncode for process in started] == [0] * 4
    assert answers == {auth.secret_in(tmp_path) + "\n"}


def test_the_second_of_two_makers_takes_the_first_one_s_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("made by another meanwhile")
    auth._link_into_place(tmp_path / "secret", "made too late to count")
    assert auth.secret_in(tmp_path) == "made by another meanwhile"
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 40])
def test_a_damaged_secret_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        auth.secret_in(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="GATEWAY_DATA_DIR="):
        auth.secret_in(tmp_path / "file" / "data")
