//! What is written here is what the project's own conversion writes.

use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry::trace::{SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use prost::Message;

use super::*;

fn context(is_remote: bool, state: &str) -> SpanContext {
    let state: TraceState = state.parse().unwrap();
    let (trace, span) = (TraceId::from(7 << 100), SpanId::from(9));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, is_remote, state)
}

fn plain() -> SpanData {
    SpanData {
        span_context: context(false, ""),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "".into(),
        start_time: UNIX_EPOCH,
        end_time: UNIX_EPOCH,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder(SCOPE).build(),
    }
}

fn rich(kind: SpanKind, status: Status) -> SpanData {
    let mut links = SpanLinks::default();
    let attributes = vec![KeyValue::new("of", "a link")];
    links.links = vec![
        Link::new(context(true, "a=1"), attributes, 2),
        Link::with_context(context(false, "")),
    ];
    links.dropped_count = 3;
    SpanData {
        span_context: context(false, "vendor=1,other=2"),
        parent_span_id: SpanId::from(u64::MAX),
        parent_span_is_remote: true,
        span_kind: kind,
        name: "GET /protected/user".into(),
        start_time: UNIX_EPOCH + Duration::from_nanos(1_800_000_000_123_456_789),
        end_time: UNIX_EPOCH + Duration::from_nanos(1_800_000_000_123_999_999),
        attributes: vec![
            KeyValue::new("empty", ""),
            KeyValue::new("text", "é"),
            KeyValue::new("short enough", "x".repeat(107)),
            KeyValue::new("too long for it", "x".repeat(130)),
            KeyValue::new("very long", "x".repeat(20_000)),
            KeyValue::new("nought", 0),
            KeyValue::new("below", -1),
            KeyValue::new("most", i64::MAX),
            KeyValue::new("yes", true),
            KeyValue::new("no", false),
            KeyValue::new("float", 0.5),
        ],
        dropped_attributes_count: 300,
        links,
        status,
        ..plain()
    }
}

#[test]
fn a_message_is_what_the_project_s_own_conversion_makes_of_the_same_spans() {
    let resource = Resource::builder_empty()
        .with_attributes([KeyValue::new("service.name", "edge"), KeyValue::new("n", 7)])
        .build();
    let spans = [
        plain(),
        rich(SpanKind::Server, Status::Ok),
        rich(SpanKind::Client, Status::error("")),
        rich(SpanKind::Producer, Status::error("why")),
        rich(SpanKind::Consumer, Status::Unset),
    ];
    let written: Vec<Vec<u8>> = spans.iter().map(span).collect();
    for count in [0, 1, spans.len()] {
        let message = Head::new(&resource).message(&written[..count]);
        let read = ExportTraceServiceRequest::decode(&*message).unwrap();
        let known = ResourceAttributesWithSchema::from(&resource);
        let mut expected = group_spans_by_resource_and_scope(spans[..count].to_vec(), &known);
        if count == 0 {
            expected[0].scope_spans.clone_from(&read.resource_spans[0].scope_spans);
            assert_eq!(read.resource_spans[0].scope_spans[0].spans, []);
        }
        assert_eq!(read, ExportTraceServiceRequest { resource_spans: expected });
    }
}
