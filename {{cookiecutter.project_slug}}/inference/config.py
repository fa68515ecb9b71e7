"""Settings of the service, read from environment variables with the same names in upper case."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args, get_origin

import msgspec
from msgspec import Meta

from inference.errors import StartupError

ROOT = Path(__file__).parent.parent
CGROUP = Path("/sys/fs/cgroup")
# Name given to a model trained in this project.
NAME = "{{ cookiecutter.project_slug }}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings with their types, limits and defaults.

    ``workers`` of 0 means one for each CPU that the container may use. A worker holds up to ``max_connections``,
    including idle ones, and accepts up to ``max_concurrent`` requests that wait for a thread or for the
    model's queue, each for at most ``request_seconds``; it refuses more. A client has ``header_seconds``
    to send the head of a request, ``body_seconds`` to send its body, however slowly it trickles in, and
    ``send_seconds`` to read a response. Its connection stays open for ``keep_alive_seconds`` between requests, which
    must be longer than the idle timeout of the load balancer. ``shutdown_seconds`` is how long a worker may take to
    finish its requests when the service is told to stop. ``api_key`` may hold several comma-separated keys.
    ``cors_origins`` lists the origins whose pages may call the service, like https://app.example.com,
    comma-separated, or * for all. ``page_accent`` is the colour of the page's links and buttons, as #rrggbb.

    With ``statistics`` the service counts how inputs and answers are distributed. An input or output has drifted when
    its population stability index over the last ``drift_window_seconds`` is above ``drift_threshold``.
    ``metrics_namespace`` is the CloudWatch namespace of the metrics that are logged once a minute; if it is empty, none
    are logged. ``release`` is the name that these metrics give to the running code and model.

    ``sample_share`` is the share of requests, from 0 to 1, that are stored with their answers: in the log, or below an
    ``s3://`` URL, as ``sample_to`` says. They are stored without the columns or tensors in ``sample_without``, which is
    comma-separated or a JSON list.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=1, le=65535)] = {{ cookiecutter.container_port }}
    workers: Annotated[int, Meta(ge=0, le=64)] = 0
    model_path: str = str(ROOT / "{{ cookiecutter.__model_file }}")
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 1_048_576
    max_rows: Annotated[int, Meta(ge=1)] = 10_000
    max_connections: Annotated[int, Meta(ge=8, le=100_000)] = 4096
    max_concurrent: Annotated[int, Meta(ge=1, le=1000)] = 64
    max_header_bytes: Annotated[int, Meta(ge=1024)] = 32_768
    request_seconds: Annotated[int, Meta(ge=1)] = 10
    header_seconds: Annotated[int, Meta(ge=1)] = 10
    body_seconds: Annotated[int, Meta(ge=1)] = 30
    send_seconds: Annotated[int, Meta(ge=1)] = 30
    keep_alive_seconds: Annotated[int, Meta(ge=1)] = 75
    batching: Literal["auto", "on", "off"] = "auto"
    api_key: str = ""
    shutdown_seconds: Annotated[int, Meta(ge=1, le=120)] = 20
    cors_origins: Annotated[
        str, Meta(pattern=r"^(\*|https?://[^/\s,]+(\s*,\s*https?://[^/\s,]+)*)?$")
    ] = ""
    page_accent: Annotated[str, Meta(pattern="^(#[0-9A-Fa-f]{6})?$")] = ""
    statistics: Literal["on", "off"] = "on"
    drift_threshold: Annotated[float, Meta(gt=0)] = 0.2
    drift_window_seconds: Annotated[int, Meta(ge=12)] = 3600
    metrics_namespace: Annotated[str, Meta(pattern="^[A-Za-z0-9._/#:-]{0,255}$")] = ""
    release: Annotated[str, Meta(max_length=200)] = ""
    sample_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    sample_to: Annotated[str, Meta(pattern=r"^(log|s3://[a-z0-9][a-z0-9.-]+(/.*)?)$")] = "log"
    sample_without: str = ""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and validate all settings; an empty variable counts as unset.

        Raises StartupError, which names every variable that is wrong.
        """
        values = {}
        faults = []
        for field in msgspec.structs.fields(cls):
            name = field.name.upper()
            text = environment.get(name)
            if not text:
                continue
            choices = get_args(field.type) if get_origin(field.type) is Literal else ()
            text = next((choice for choice in choices if choice.lower() == text.lower()), text)
            try:
                values[field.name] = msgspec.convert(text, field.type, strict=False)
            except msgspec.ValidationError as error:
                rule = f"must be one of {', '.join(choices)}" if choices else error
                faults.append(f"{name}={text!r}: {rule}")
        if faults:
            raise StartupError("Wrong settings in the environment: " + "; ".join(faults))
        settings = cls(**values)
        if settings.api_key and not settings.api_keys:
            # Set, but blank: surely not meant to open the service to everyone.
            raise StartupError("API_KEY holds no key")
        try:
            settings.left_out  # noqa: B018
        except msgspec.DecodeError as error:
            raise StartupError(f"SAMPLE_WITHOUT={settings.sample_without!r}: {error}") from error
        if not settings.api_key.isascii():
            raise StartupError("API_KEY holds a character that no header can carry: use ASCII")
        return settings

    @property
    def origins(self) -> list[str]:
        """The origins whose pages may call the service."""
        return [origin for part in self.cors_origins.split(",") if (origin := part.strip())]

    @property
    def left_out(self) -> list[str]:
        """The columns or tensors to leave out of the sample."""
        if self.sample_without.startswith("["):
            return msgspec.json.decode(self.sample_without, type=list[str])
        return [name for part in self.sample_without.split(",") if (name := part.strip())]

    @property
    def api_keys(self) -> list[str]:
        """The accepted keys; empty if the service is open to everyone."""
        return [key for part in self.api_key.split(",") if (key := part.strip())]


def available_cpus(cgroup: Path = CGROUP) -> int:
    """Return the number of whole CPUs that this process may use: its cgroup quota or its affinity, at least 1."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        if (cgroup / "cpu.max").exists():
            quota, period = (cgroup / "cpu.max").read_text().split()
        else:
            # Version 1 of cgroups.
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = ((cgroup / "cpu" / name).read_text().strip() for name in names)
    except (OSError, ValueError):
        return cpus
    is_unlimited = quota in ("max", "-1")
    return cpus if is_unlimited else max(1, min(cpus, int(quota) // int(period)))
