"""The service's settings, read once from ``DIFFCDR_*`` environment variables and then frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypedDict

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from diffcdr.device.names import Device, parse_device
from diffcdr.errors import InputError
from diffcdr.search.approximate import DEFAULT_FLOOR

PREFIX = "DIFFCDR_"
DeviceName = Annotated[Device, AfterValidator(parse_device)]
NOT_THE_SERVICES = frozenset({"DIFFCDR_DATA"})
"""Variables that other parts of the project read."""
_LINK = re.compile(r"(tcp|udp|sctp)://[^/]+:\d+")
_LINK_NAME = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$")
OPTIONS = frozenset(
    {"bundle", "host", "port", "uds", "root_path", "device", "threads", "log_format", "access_log", "workers"}
)
"""Settings that are options of ``diffcdr serve`` too."""
SECRETS = frozenset({"api_keys", "feedback_key", "state_url", "vectors_url"})
"""Settings whose values are never shown."""


class Loading(TypedDict):
    """How :func:`service.bundles.registry.load_model` loads a bundle."""

    device: Device
    search_device: Device
    threads: int
    own_vectors: bool
    recall_floor: float


class Settings(BaseSettings):
    """The service's settings. A field ``name`` is read from ``DIFFCDR_NAME``; arguments win over the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    bundle: Path
    """The bundle directory to serve."""
    bundle_root: Path | None = None
    """Where bundles may be loaded from while serving. Without it: the folder that holds ``bundle``."""
    watch_seconds: float = Field(0.0, ge=0)
    """How often to look whether another bundle was published at ``bundle``, and serve it. 0 does not look."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    allowed_hosts: str = ""
    """Names in the ``Host`` header under which callers without a key may ask, separated by commas; ``*`` for all. Other
    names get 421, so that no web page reads the service by a name that was made to point here. Loopback's names
    are always allowed. Without it: only these on a loopback address, all names elsewhere. Add the names that a
    proxy on the same machine passes on."""
    port: int = Field(8000, ge=0, le=65535)
    """The port to listen on. 0 takes any free port and logs it."""
    uds: Path | None = None
    """A Unix socket to listen on, in place of ``host`` and ``port``; its file is gone when the service is."""
    uds_mode: str = Field("660", pattern="^[0-7]{3}$")
    """Permissions of the socket's file, octal: who may write to it may ask, as on a loopback address."""
    root_path: str = Field("", pattern="^((/[A-Za-z0-9._~-]+)*)/?$")
    """Path below which a proxy shows the service, such as ``/recs``, whether the proxy takes it off addresses or not.
    A proxy that takes it off may say it in ``X-Forwarded-Prefix`` instead."""
    device: DeviceName = "auto"
    """Where a transfer graph runs: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``. The service does not start with a named
    GPU that cannot be used. ``auto`` then takes the CPU, and logs the reason where a driver is installed.
    /readyz tells which is used."""
    search_device: DeviceName = "auto"
    """Where items are searched. ``auto`` takes the GPU of ``device`` for the batch sizes that were measured to be
    faster on it at load; ``cuda`` must be usable."""
    workers: int = Field(1, ge=1, le=64)
    """Processes that answer on the one port. They share the memory-mapped tables."""
    threads: int = Field(1, ge=1, le=256)
    """Intra-op threads of a transfer graph."""
    load_seconds: float = Field(600.0, gt=0)
    """A bundle that has not been loaded after this long is refused."""
    recall_floor: float = Field(DEFAULT_FLOOR, ge=0, le=1)
    """A bundle is refused if its approximate index found a smaller share than this of the exact best 20 when it was
    made."""

    api_keys: SecretStr = SecretStr("")
    """API keys with their scopes, one a line or separated by ``;`` (how to make one: operations, Keys)."""
    api_keys_file: Path | None = None
    """A file of further keys, one a line. Changes are picked up within a second."""
    allow_anonymous: bool = False
    """Serve without keys on an address that other machines can reach. Administration still needs a key."""
    rate_limit: float = Field(0.0, ge=0)
    """Requests a second that each key may make of each process; without keys, each client address. More get 429. 0 sets
    no limit."""

    state_url: SecretStr = SecretStr("")
    """Where opt-outs, erasures and events are kept: ``sqlite:FILE`` or a Redis URL. Without it: a SQLite file next to
    the bundle."""
    state_copy_seconds: float = Field(0.0, ge=0, le=86_400)
    """How long a process may rely on its copy of the opt-outs while the state is out of reach. 0: no list
    is personal meanwhile."""
    state_patience_ms: int = Field(250, ge=10, le=60_000)
    """How long an answer waits for the state before it is given without personalisation. It never takes more than half
    of the time that the request allows."""
    state_durable: Literal["warn", "require"] = "warn"
    """What to do with a Redis that would lose acknowledged writes: ``warn`` logs it, ``require`` refuses it: no list is
    personal and no write is taken."""
    event_days: float = Field(90.0, gt=0, le=36_500)
    """A user's events are removed this many days after the last one was sent."""

    feedback_key: SecretStr = SecretStr("")
    """The key that signs recommendation ids, the same for all replicas. Older keys that are still accepted follow after
    commas. Without it, a key is drawn at startup, so ids become invalid with a restart."""

    event_weights: str = ""
    """Event types and the weights of events without a rating, from 0 (nothing) to 1 (like the best rating):
    ``TYPE=WEIGHT``, separated by commas. ``impression=0, click=0, purchase=1`` are always defined; their weights can
    be changed."""
    conversion_types: str = "purchase"
    """Types of events that count as conversions, separated by commas."""
    stop_on_harm: bool = False
    """End a traffic split automatically when the verdict is that the canary is worse (/v1/experiments)."""
    attribution_hours: float = Field(168.0, gt=0, le=8_760)
    """How many hours after a list events may name its recommendation id. Later ones are refused."""

    event_queue: int = Field(10_000, ge=1)
    """Events that may wait to be written, in each process. More get 503 with Retry-After."""

    vectors: Literal["bundle", "redis"] = "bundle"
    """Where source vectors are read from. ``diffcdr push`` fills ``redis``."""
    vectors_url: SecretStr = SecretStr("")
    """The Redis with source vectors. Without it: that of ``state_url``."""
    vectors_kept: int = Field(100_000, ge=0)
    """Source vectors from Redis that each process keeps in memory."""

    max_body_bytes: int = Field(4 << 20, ge=1024)
    """Largest body of a request about one user. Larger ones get 413. A filter of 100,000 items takes some 2 MB."""
    max_bulk_body_bytes: int = Field(16 << 20, ge=1024)
    """Largest body of an embeddings or events request."""
    max_stream_bytes: int = Field(4 << 30, ge=1024)
    """Largest body of a batch request. Beyond 1 MiB it is spooled to the temporary directory."""
    max_line_bytes: int = Field(64 << 10, ge=1024)
    """Largest entry of a batch. A longer one is answered with an error line."""

    queue_rows: int = Field(4096, ge=1)
    """Users that may wait for the engine. More get 503 with Retry-After."""
    batch_rows: int = Field(256, ge=1, le=4096)
    """Most users computed together."""
    max_in_flight: int = Field(32, ge=1)
    """Reads that each process works on at a time (four times as many for a tenth of a second). More get 503 with Retry-
    After before their body is read. Raise it where a GPU or Redis answers slowly. Probes, metrics and
    administration are always answered."""
    max_writes_in_flight: int = Field(32, ge=1)
    """The same for opt-outs, erasures and events."""
    max_bulk_in_flight: int = Field(16, ge=1)
    """The same for batches and for bodies of more than 64 KiB."""
    max_connections: int = Field(0, ge=0)
    """Open connections of each process. Beyond it, those silent for longest are closed. 0: as many as file descriptors
    allow."""
    keep_alive_seconds: float = Field(75.0, gt=0)
    """An idle connection is closed after this long. Set it longer than the proxy or balancer in front keeps its own."""
    head_seconds: float = Field(10.0, gt=0)
    """How long the head of a request may take to arrive, and the first byte of a new connection."""
    min_body_rate: int = Field(100, ge=0)
    """Bytes a second that a body has to bring, over ten seconds. Slower ones get 408."""
    timeout_ms: int = Field(2000, ge=1, le=60_000)
    """Deadline of a request that names none. Past it the answer is 504."""
    stall_seconds: float = Field(30.0, gt=0)
    """/livez fails once a single computation has run for this long."""

    drain_seconds: float = Field(2.0, ge=0)
    """After SIGTERM: how long requests are still taken while /readyz says no."""
    finish_seconds: float = Field(20.0, gt=0)
    """After that: how long requests in flight may take to finish."""
    close_seconds: float = Field(5.0, gt=0)
    """After that: how long everything else may take to close. Then the process ends whatever is still open, with status
    1 and a line in the log; the parent of several workers within two seconds more."""

    log_format: Literal["text", "json"] = "text"
    """The form of log lines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe messages that are logged."""
    access_log: bool = False
    """One log line a request."""
    tracing: bool | None = None
    """Send OpenTelemetry traces. Without it: where ``OTEL_EXPORTER_OTLP_ENDPOINT`` names a collector."""

    @model_validator(mode="before")
    @classmethod
    def _no_service_links(cls, values: Any) -> Any:
        """Kubernetes sets ``DIFFCDR_PORT=tcp://…`` where a Service is called ``diffcdr``: it is not meant for us."""
        return {name: value for name, value in values.items() if not _is_link(value)}

    @property
    def prefix(self) -> str:
        """``root_path`` without a slash at its end."""
        return self.root_path.rstrip("/")

    @property
    def loading(self) -> Loading:
        """How bundles are loaded."""
        return {
            "device": self.device,
            "search_device": self.search_device,
            "threads": self.threads,
            "own_vectors": self.vectors == "bundle",
            "recall_floor": self.recall_floor,
        }

    @classmethod
    def read(cls, **overrides: Any) -> Self:
        """The settings from the environment, with those ``overrides`` that are not None.

        Raises:
            InputError: a value is missing or out of range; the message names it both ways it can be set.
        """
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            raise InputError("; ".join(_explain(part) for part in error.errors())) from error


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Names in ``environment`` that look like settings but are not, except those that Kubernetes sets for Services."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | NOT_THE_SERVICES
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in known and not _is_link(value) and not _LINK_NAME.search(name)
    )


def _is_link(value: Any) -> bool:
    return isinstance(value, str) and _LINK.fullmatch(value) is not None


def _explain(part: Any) -> str:
    name = str(part["loc"][0]) if part["loc"] else "settings"
    variable = f"{PREFIX}{name.upper()}"
    option = f"--{name.replace('_', '-')}"
    if part["type"] == "missing":
        return f"{name} is not set; pass {option} or set {variable}"
    shown = f"{variable} ({option})" if name in OPTIONS else variable
    value = "what it is" if name in SECRETS else repr(part["input"])
    return f"{shown} cannot be {value}: {part['msg']}"
