//! What the sampler, the headers and the bound on late spans do, without a collector.

use super::*;

const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const NOT_SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

#[test]
fn a_client_that_traces_is_followed_and_one_that_does_not_is_left_alone() {
    let takes = |sampler: Sampler, text| sampler.takes(Parent::read(text, None).0.as_deref());
    assert!(takes(Sampler::ParentOr(0.0), SAMPLED));
    assert!(!takes(Sampler::ParentOr(1.0), NOT_SAMPLED));
    assert!(takes(Sampler::Share(1.0), NOT_SAMPLED));
    assert!(!takes(Sampler::Share(0.0), SAMPLED));
    assert!(!takes(Sampler::Never, SAMPLED));
}

#[test]
fn headers_are_written_as_they_were_read() {
    let parent = Parent::read(SAMPLED, Some("vendor=1"));
    assert_eq!(parent.traceparent().as_deref(), Some(SAMPLED));
    assert_eq!(parent.tracestate().as_deref(), Some("vendor=1"));
    assert_eq!(Parent::read(NOT_SAMPLED, None).traceparent().as_deref(), Some(NOT_SAMPLED));
    for text in ["", "x", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        assert_eq!(Parent::read(text, None).traceparent(), None, "{text}");
    }
}

#[test]
fn only_so_many_spans_are_made_late_in_one_second() {
    let late = Late::default();
    let in_second = |second| (0..100).filter(|_| late.takes(second)).count() as u64;
    assert_eq!(in_second(7), MAX_LATE);
    assert_eq!(in_second(8), MAX_LATE);
}

#[test]
fn without_a_collector_no_span_is_made() {
    let never = || -> Description { panic!("described a span that nobody wants") };
    let parent = Parent::read(SAMPLED, None);
    assert!(!Span::entry(&parent, SpanKind::Server, never).is_recording());
    assert!(!Span::remote(&parent, SpanKind::Server, never).is_recording());
    assert!(!Span::child(SpanKind::Client, never).is_recording());
    assert!(!Span::late(SpanKind::Server, Duration::ZERO, never).is_recording());
    assert!(Parent::current().traceparent().is_none());
}
