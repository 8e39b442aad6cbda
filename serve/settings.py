"""All settings of the endpoint, read from the RHORAY_* variables of each replica's environment."""

from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MIB = 2**20
# Boundaries, part headers and small fields that surround the file in a multipart body.
ENVELOPE_BYTES = MIB
# The deployments' queues are sized for batches up to this; see deployments.py.
LARGEST_BATCH = 16
# The ingress replica takes in this many requests; see app.py.
LARGEST_LOAD = 64


class ServeSettings(BaseSettings):
    """Settings of one application; a value given in Python wins over the environment."""

    # Errors go to logs, and the input may hold tokens.
    model_config = SettingsConfigDict(env_prefix="RHORAY_", frozen=True, extra="forbid", hide_input_in_errors=True)

    bundle: str = Field(default="pretrained:", description="bundle URI, or `pretrained:`")
    api_token: SecretStr | None = Field(
        default=None,
        description="bearer token; several are separated by commas; none: no token is asked for",
    )
    max_upload_bytes: int = Field(default=256 * MIB, ge=1024, description="largest file as it is sent")
    max_decompressed_bytes: int = Field(default=1024 * MIB, ge=1024, description="largest file unpacked")
    max_batch_files: int = Field(default=64, ge=1, description="most files in one batch request")
    max_concurrent_requests: int = Field(
        default=32,
        ge=1,
        le=LARGEST_LOAD,
        description="requests that one ingress replica works on; more get 503",
    )
    parse_workers: int = Field(default=2, ge=1, le=64, description="files parsed at once by a parser replica")
    uri_prefixes: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="where a JSON uri may point to, separated by commas; empty: nowhere"
    )
    max_batch_size: int = Field(default=8, ge=1, le=LARGEST_BATCH, description="densities per model call")
    batch_wait_timeout_s: float = Field(default=0.02, ge=0, le=5, description="wait for a batch to fill")
    min_replicas: int = Field(default=1, ge=1, le=64, description="of each deployment of a graph built in Python")
    max_replicas: int = Field(default=2, ge=1, le=64, description="of each deployment, under load")
    upscale_delay_s: float = Field(default=10.0, gt=0, description="load must last so long before a replica comes")
    downscale_delay_s: float = Field(default=300.0, gt=0, description="and must be gone so long before one goes")
    request_timeout_s: float = Field(
        default=120.0, gt=0, description="longest wait for a body, and then for its answer"
    )

    @field_validator("uri_prefixes", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas: {self.max_replicas}, expected at least min_replicas: {self.min_replicas}")
        for prefix in self.uri_prefixes:
            if not prefix.startswith(("s3://", "file:///")):
                raise ValueError(f"uri_prefixes: {prefix!r}, expected s3://… or file:///…")
        if self.api_token is not None and not self.tokens:
            raise ValueError("api_token: empty, expected a token or no such variable at all")
        return self

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every token that opens the endpoint; empty when none is asked for."""
        if self.api_token is None:
            return ()
        parts = self.api_token.get_secret_value().split(",")
        return tuple(part.strip() for part in parts if part.strip())

    @property
    def max_request_bytes(self) -> int:
        """Largest body of a request for one file."""
        return self.max_upload_bytes + ENVELOPE_BYTES

    @property
    def max_batch_request_bytes(self) -> int:
        """Largest body of a batch request."""
        return 2 * self.max_upload_bytes + ENVELOPE_BYTES

    @property
    def max_bytes_in_flight(self) -> int:
        """Most body bytes that an ingress replica holds at once, over all its requests."""
        return 4 * self.max_upload_bytes + 4 * ENVELOPE_BYTES
