"""Section `tracing`."""

from typing import Annotated

from homeserver.config.values import Section, about


class TracingSection(Section, frozen=True, kw_only=True):
    """Traces of requests, with OpenTelemetry."""

    zipkin_url: Annotated[
        str | None,
        about("Where spans go, such as http://127.0.0.1:9411/api/v2/spans. Absent: nowhere."),
    ] = None
    service_name: Annotated[str, about("How this server is called in traces.")] = "homeserver"
    sample_ratio: Annotated[float, about("Which part of the requests is traced.", ge=0, le=1)] = 1.0
