"""Traces: spans of requests, statements, commits and calls; off costs one comparison."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

from opentelemetry.exporter.zipkin.json import ZipkinExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Status, StatusCode

from homeserver.config.sections.tracing import TracingSection

_NO_SPAN: Final[AbstractContextManager[None]] = nullcontext()


class Tracer:
    """Starts spans, which nest along the running task; without an exporter it does nothing.

    Attributes are facts with bounded size: operation, status, origin. Never content, never
    the text of an exception, which may quote content.
    """

    def __init__(
        self,
        exporter: SpanExporter | None = None,
        *,
        service_name: str = "homeserver",
        sample_ratio: float = 1.0,
    ) -> None:
        """`sample_ratio`: the share of traces that is kept, from 0 to 1."""
        self.is_enabled: Final = exporter is not None
        if exporter is None:
            return
        self._provider = TracerProvider(
            resource=Resource({"service.name": service_name}),
            sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("homeserver")

    def span(
        self, name: str, attributes: Mapping[str, str | int] | None = None
    ) -> AbstractContextManager[None]:
        """Trace the block as a span; an exception that leaves it marks it as failed."""
        return self._recorded(name, attributes) if self.is_enabled else _NO_SPAN

    def stop(self) -> None:
        """Hand over the spans that wait, and stop. Blocks: call it in a thread."""
        if self.is_enabled:
            self._provider.shutdown()

    @contextmanager
    def _recorded(self, name: str, attributes: Mapping[str, str | int] | None) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name, attributes=attributes, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def tracer_of(settings: TracingSection) -> Tracer:
    """Return the tracer that configuration asks for: off, or to a Zipkin collector."""
    if settings.zipkin_url is None:
        return Tracer()
    return Tracer(
        ZipkinExporter(endpoint=settings.zipkin_url),
        service_name=settings.service_name,
        sample_ratio=settings.sample_ratio,
    )
