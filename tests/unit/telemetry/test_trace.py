"""Spans are recorded when somebody takes them."""

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from homeserver.config.sections.tracing import TracingSection
from homeserver.telemetry.trace import Tracer, tracer_of


def test_spans_nest_and_carry_attributes() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer(exporter, service_name="test")
    with tracer.span("outer", {"operation": "a"}), tracer.span("inner"):
        pass
    tracer.stop()
    inner, outer = exporter.get_finished_spans()
    assert (inner.name, outer.name) == ("inner", "outer")
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id
    assert dict(outer.attributes or {}) == {"operation": "a"}
    assert outer.resource.attributes["service.name"] == "test"


def test_a_failure_is_marked_by_its_type_alone() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer(exporter)
    with pytest.raises(KeyError), tracer.span("failing"):
        raise KeyError("secret content")
    tracer.stop()
    [span] = exporter.get_finished_spans()
    assert not span.status.is_ok
    assert span.status.description == "KeyError"
    assert span.events == ()


def test_a_share_of_nothing_records_nothing() -> None:
    exporter = InMemorySpanExporter()
    tracer = Tracer(exporter, sample_ratio=0)
    with tracer.span("dropped"):
        pass
    tracer.stop()
    assert exporter.get_finished_spans() == ()


def test_without_an_exporter_nothing_is_made() -> None:
    tracer = tracer_of(TracingSection())
    assert not tracer.is_enabled
    assert tracer.span("a") is tracer.span("b")
    with tracer.span("a"):
        pass
    tracer.stop()


def test_a_collector_in_the_configuration_turns_tracing_on() -> None:
    tracer = tracer_of(TracingSection(zipkin_url="http://127.0.0.1:9/api/v2/spans"))
    assert tracer.is_enabled
    tracer.stop()
