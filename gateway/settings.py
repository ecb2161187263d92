"""What an operator can set: by environment (`GATEWAY_...`), by a `.env` file, or by flags of `serve`."""

import ipaddress
import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway import redis_url

PREFIX = "GATEWAY_"
MIN_SECRET_CHARACTERS = 16

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigurationError(Exception):
    """A setting is missing or wrong: names the variable, the value and what is allowed, one per line."""


class Settings(BaseSettings):
    """The effective settings. Durations are in seconds, sizes in bytes."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True
    )

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8080, ge=0, le=65535, description="port to listen on; 0 lets the system choose")
    workers: int = Field(1, ge=1, le=64, description="processes that accept, receive and relay side by side")
    relay: bool = Field(True, description="deliver replies, too; without, other processes on the same store must")  # noqa: FBT003 — a default
    redis_url: str = Field("", description="URL of a Redis, a cluster or sentinels; empty: an embedded server")
    data_dir: Path = Field(Path(".gateway"), description="where the embedded server and its secret live")
    upstream: Literal["v3", "chatbotkit"] = Field("v3", description="the dialect of the upstream")
    v3_url: str = Field("", description="base URL of V3, with its prefix if it has one; required for v3")
    chatbotkit_url: str = Field("https://api.chatbotkit.com/v1", description="base URL of ChatBotKit's API, a version")
    bot_map: Path | None = Field(
        None, description="JSON file {V1 bot id: ChatBotKit bot id}; ids that it lacks are passed on"
    )
    public_url: str = Field("", description="where the upstream reaches this gateway; empty: http://HOST:PORT")
    secret: SecretStr = Field(
        SecretStr(""),
        description="signs callback URLs; several, separated by commas: the first signs, all verify",
    )
    admin_token: SecretStr = Field(
        SecretStr(""), description="lets operators use /admin from anywhere; empty: from this machine only"
    )
    key_map: Path | None = Field(None, description="JSON file {V1 key: V3 key}; keys that it lacks are passed on")
    webhook_secrets: Path | None = Field(
        None, description="JSON file {V1 key or tenant: whsec_... or a list of them}; signs that tenant's deliveries"
    )
    webhook_allow: Annotated[tuple[Network, ...], NoDecode] = Field(
        (), description="CIDRs, separated by commas, that deliveries may reach besides public addresses"
    )
    max_body_bytes: int = Field(10 * 2**20, ge=1024, le=2**30, description="largest request body")
    max_picture_bytes: int = Field(5 * 2**20, ge=1024, le=2**27, description="largest picture of /v2/(user_)content")
    picture_ttl_seconds: int = Field(7 * 24 * 3600, ge=60, le=90 * 24 * 3600, description="life of a user's picture")
    head_timeout_seconds: float = Field(10, gt=0, le=300, description="time for the head of a request to come")
    body_timeout_seconds: float = Field(30, gt=0, le=600, description="time for the body of a request to come")
    upstream_timeout_seconds: float = Field(20, gt=0, le=300, description="total time of one upstream call")
    delivery_timeout_seconds: float = Field(15, gt=0, le=120, description="total time of one delivery attempt")
    delivery_max_attempts: int = Field(8, ge=1, le=100, description="attempts before a reply is a dead letter")
    delivery_backoff_seconds: float = Field(20, gt=0, le=3600, description="first pause between attempts")
    max_pending_replies: int = Field(1_000_000, ge=1, description="replies that may wait; beyond it clients get 503")
    max_pending_replies_per_tenant: int = Field(
        200_000, ge=1, description="replies of one API key that may wait; beyond it that client gets 429"
    )
    settle_seconds: float = Field(1.5, ge=0, le=60, description="quiet after which a reply counts as whole")
    reply_timeout_seconds: float = Field(
        120, ge=0.1, le=43200, description="silence after which a reply that no callback brought is looked for upstream"
    )
    answer_timeout_seconds: float = Field(
        55, gt=0, le=900, description="how long a request without a webhook waits for its answer"
    )
    v3_context: Literal["full", "none"] = Field(
        "full", description="what V3 is told beside the messages; none: for a V3 that knows no more than those"
    )
    history_ahead: Literal["catch_up", "reseed", "continue"] = Field(
        "catch_up", description="when a client holds messages that the upstream lacks: add them, begin anew, or go on"
    )
    history_forked: Literal["continue", "reseed"] = Field(
        "continue", description="when a client has edited its history: go on, or begin anew with it"
    )
    compact_after_messages: int = Field(
        400, ge=0, le=10**6, description="messages after which ChatBotKit sums a conversation up; 0: never"
    )
    pull_lease_seconds: float = Field(
        15, ge=1, le=300, description="silence of a process that pulls a reply after which another one goes on with it"
    )
    grace_seconds: float = Field(25, ge=1, le=600, description="time to drain after SIGTERM")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe log line")
    log_format: Literal["json", "console"] = Field("json", description="shape of log lines")

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        if value:
            redis_url.parse(value)
        return value

    @field_validator("v3_url", "chatbotkit_url", "public_url")
    @classmethod
    def _base_url(cls, value: str) -> str:
        if not value:
            return value
        parts = _split(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError("must be an http:// or https:// URL")
        if parts.query or parts.fragment:
            raise ValueError("must have no query and no fragment")
        return value.rstrip("/")

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        networks = []
        for item in filter(None, (part.strip() for part in value.split(","))):
            try:
                networks.append(ipaddress.ip_network(item))
            except ValueError as error:
                raise ValueError(f"{item!r} is no network: {error}; give CIDRs such as 10.0.0.0/8,fd00::/8") from None
        return tuple(networks)

    @field_validator("secret")
    @classmethod
    def _secret(cls, value: SecretStr) -> SecretStr:
        if value and any(len(one) < MIN_SECRET_CHARACTERS for one in _listed(value)):
            raise ValueError(f"each secret must have at least {MIN_SECRET_CHARACTERS} characters")
        return value

    @field_validator("admin_token")
    @classmethod
    def _admin_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token and (len(token) < MIN_SECRET_CHARACTERS or not re.fullmatch(r"[!-~]+", token)):
            raise ValueError(f"must have at least {MIN_SECRET_CHARACTERS} characters, visible ASCII only")
        return value

    @model_validator(mode="after")
    def _secret_of_a_shared_store(self) -> Self:
        if self.redis_url and not self.secret.get_secret_value():
            raise ValueError("SECRET: required with REDIS_URL, since all processes on one store must share it")
        return self

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """The secrets as bytes: the first signs, all verify."""
        return tuple(one.encode() for one in _listed(self.secret) if one)

    @property
    def callback_base_url(self) -> str:
        """Where the upstream reaches this gateway."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    def masked(self) -> dict[str, Any]:
        """Give the effective settings by variable name, with secrets and what URLs may hide of them masked."""
        shown = self.model_dump(mode="json")
        shown["secret"] = f"{len(self.secrets)} set" if self.secrets else ""
        shown["admin_token"] = "set" if self.admin_token else ""
        return {f"{PREFIX}{name.upper()}": _masked(name, value) for name, value in shown.items()}

    def load_key_map(self) -> dict[str, str]:
        """Read the table of V1 key → upstream key; raise `ConfigurationError` when it is not one."""
        return _read_table("KEY_MAP", self.key_map, "key to key")

    def load_bot_map(self) -> dict[str, str]:
        """Read the table of V1 bot id → upstream bot id; raise `ConfigurationError` when it is not one."""
        return _read_table("BOT_MAP", self.bot_map, "bot id to bot id")

    def load_webhook_secrets(self) -> dict[str, list[str]]:
        """Read the table of V1 key or tenant → secrets; raise `ConfigurationError` when it is not one."""
        table = _read_json("WEBHOOK_SECRETS", self.webhook_secrets)
        named = table if isinstance(table, dict) else {"": None}
        listed: dict[str, Any] = {name: [item] if isinstance(item, str) else item for name, item in named.items()}
        if not all(
            isinstance(item, list) and item and all(isinstance(one, str) for one in item) for item in listed.values()
        ):
            raise ConfigurationError(
                f"{PREFIX}WEBHOOK_SECRETS={self.webhook_secrets}: must be one JSON object of key to secret or secrets"
            )
        return listed


def load(**overrides: Any) -> Settings:
    """Read the settings, flags before environment before `.env`; raise `ConfigurationError` on a wrong one."""
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(item) for item in error.errors())) from None


def _explain(item: ErrorDetails) -> str:
    text = item["msg"].removeprefix("Value error, ")
    if not item["loc"]:
        return PREFIX + text
    name = str(item["loc"][0])
    value = "***" if name in {"secret", "admin_token"} else _masked(name, item["input"])
    return f"{PREFIX}{name.upper()}={value}: {text} ({Settings.model_fields[name].description})"


def _read_table(name: str, file: Path | None, what: str) -> dict[str, str]:
    table = _read_json(name, file)
    if not isinstance(table, dict) or not all(isinstance(item, str) and item for item in table.values()):
        raise ConfigurationError(f"{PREFIX}{name}={file}: must be one JSON object of {what}")
    return table


def _read_json(name: str, file: Path | None) -> Any:
    if file is None:
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{PREFIX}{name}={file}: cannot be read as JSON: {error}") from None


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 — read for its check
    except ValueError:
        raise ValueError("is no URL: its host or port cannot be read") from None
    return parts


def _listed(secret: SecretStr) -> list[str]:
    return [one.strip() for one in secret.get_secret_value().split(",")]


def _masked(name: str, value: Any) -> Any:
    """Give a setting's value as it may be shown: of a URL neither user, password, query nor fragment."""
    if not name.endswith("_url") or not isinstance(value, str):
        return value
    scheme, separator, rest = value.partition("://") if "://" in value else ("", "", value)
    place, mark, query = rest.replace("#", "?").partition("?")
    if "@" in query:  # a password with a character that should have been escaped
        return f"{scheme}{separator}***"
    _, at, host = place.rpartition("@")
    return scheme + separator + (at and "***@") + host + (mark and "?***")
