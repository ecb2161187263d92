"""The settings of a sandbox."""

from datetime import timedelta

import pytest

from gateway.sandbox import SandboxSettings


@pytest.mark.parametrize("prefix", ["v3", "/v3/", "/"])
def test_a_prefix_is_a_path_without_a_slash_at_its_end(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        SandboxSettings(prefix=prefix)


def test_a_webhook_is_tried_once_at_least() -> None:
    with pytest.raises(ValueError, match="webhook_attempts"):
        SandboxSettings(webhook_attempts=0)


def test_fast_changes_the_pace_and_nothing_else() -> None:
    settings = SandboxSettings(prefix="/v3", any_bot_id=True)
    fast = settings.fast()
    assert fast.segment_interval < timedelta(seconds=0.1) < settings.segment_interval
    assert (fast.prefix, fast.any_bot_id) == ("/v3", True)
