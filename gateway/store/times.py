"""Times as the store keeps them: whole milliseconds, of a duration or of Unix time."""

from datetime import UTC, datetime, timedelta

_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(duration: timedelta) -> int:
    """Write a duration."""
    return round(duration / _MILLISECOND)


def moment(unix_ms: float | str) -> datetime:
    """Read a moment."""
    return datetime.fromtimestamp(float(unix_ms) / 1000, UTC)
