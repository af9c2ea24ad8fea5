//! Spans as the bytes that a collector takes: OTLP (`opentelemetry/proto/trace/v1/trace.proto`), written straight from
//! what a span is. The numbers are those of the fields there.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status};
use opentelemetry::{Key, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanData;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// What all spans are said to be made by.
pub(super) const SCOPE: &str = "latchkey";
/// Bytes that most spans have room in.
const USUAL: usize = 384;
/// `SpanFlags`: it is known whether the parent is in another process, and it is.
const IS_KNOWN: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What stands before the spans of each message: who sends them, and what made them.
pub(super) struct Head {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Head {
    /// For spans of this process.
    pub(super) fn new(of: &Resource) -> Self {
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        nested(1, &mut resource, |to| of.iter().for_each(|(key, value)| pair(1, key, value, to)));
        nested(1, &mut scope, |to| text(1, SCOPE, to));
        Self { resource, scope }
    }

    /// The message with these spans, each as [`span`] has written it.
    pub(super) fn message(&self, spans: &[Vec<u8>]) -> Vec<u8> {
        let spans_len: usize = spans.iter().map(|span| len_of(2, span.len())).sum();
        let of_scope = self.scope.len() + spans_len;
        let of_resource = self.resource.len() + len_of(2, of_scope);
        let mut to = Vec::with_capacity(len_of(1, of_resource));
        begin(1, of_resource, &mut to);
        to.extend_from_slice(&self.resource);
        begin(2, of_scope, &mut to);
        to.extend_from_slice(&self.scope);
        for span in spans {
            bytes(2, span, &mut to);
        }
        to
    }
}

/// One span, without the tag and length that it has in a message. Ours have no events.
pub(super) fn span(of: &SpanData) -> Vec<u8> {
    let mut to = Vec::with_capacity(USUAL);
    ids(&of.span_context, &mut to);
    if of.parent_span_id != SpanId::INVALID {
        bytes(4, &of.parent_span_id.to_bytes(), &mut to);
    }
    text(5, &of.name, &mut to);
    number(6, kind(&of.span_kind), &mut to);
    moment(7, of.start_time, &mut to);
    moment(8, of.end_time, &mut to);
    attributes(9, &of.attributes, &mut to);
    number(10, u64::from(of.dropped_attributes_count), &mut to);
    for link in of.links.iter() {
        nested(13, &mut to, |to| link_of(link, to));
    }
    number(14, u64::from(of.links.dropped_count), &mut to);
    nested(15, &mut to, |to| status(&of.status, to));
    flags(16, &of.span_context, of.parent_span_is_remote, &mut to);
    to
}

fn link_of(link: &Link, to: &mut Vec<u8>) {
    ids(&link.span_context, to);
    attributes(4, &link.attributes, to);
    number(5, u64::from(link.dropped_attributes_count), to);
    flags(6, &link.span_context, link.span_context.is_remote(), to);
}

/// Trace, span and the trace's state have the same numbers in a span and a link.
fn ids(of: &SpanContext, to: &mut Vec<u8>) {
    bytes(1, &of.trace_id().to_bytes(), to);
    bytes(2, &of.span_id().to_bytes(), to);
    text(3, &of.trace_state().header(), to);
}

fn flags(tag: u32, of: &SpanContext, is_remote: bool, to: &mut Vec<u8>) {
    let remote = if is_remote { IS_REMOTE } else { 0 };
    let flags = u32::from(of.trace_flags().to_u8()) | IS_KNOWN | remote;
    encode_key(tag, WireType::ThirtyTwoBit, to);
    to.extend_from_slice(&flags.to_le_bytes());
}

fn kind(of: &SpanKind) -> u64 {
    match of {
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn status(of: &Status, to: &mut Vec<u8>) {
    match of {
        Status::Unset => {}
        Status::Ok => number(3, 1, to),
        Status::Error { description } => {
            text(2, description, to);
            number(3, 2, to);
        }
    }
}

fn attributes(tag: u32, of: &[KeyValue], to: &mut Vec<u8>) {
    for attribute in of {
        pair(tag, &attribute.key, &attribute.value, to);
    }
}

fn pair(tag: u32, key: &Key, of: &Value, to: &mut Vec<u8>) {
    nested(tag, to, |to| {
        text(1, key.as_str(), to);
        nested(2, to, |to| value(of, to));
    });
}

/// A value says which it is, be it empty or nought.
fn value(of: &Value, to: &mut Vec<u8>) {
    match of {
        Value::Bool(value) => {
            encode_key(2, WireType::Varint, to);
            encode_varint(u64::from(*value), to);
        }
        Value::I64(value) => {
            encode_key(3, WireType::Varint, to);
            encode_varint(value.cast_unsigned(), to);
        }
        Value::F64(value) => {
            encode_key(4, WireType::SixtyFourBit, to);
            to.extend_from_slice(&value.to_le_bytes());
        }
        // Ours have no lists, and of what else there may be the text is told.
        other => bytes(1, other.as_str().as_bytes(), to),
    }
}

/// A moment, in ns since 1970.
fn moment(tag: u32, at: SystemTime, to: &mut Vec<u8>) {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    encode_key(tag, WireType::SixtyFourBit, to);
    to.extend_from_slice(&nanos.to_le_bytes());
}

/// A number. Nought is what stands where nothing does.
fn number(tag: u32, value: u64, to: &mut Vec<u8>) {
    if value != 0 {
        encode_key(tag, WireType::Varint, to);
        encode_varint(value, to);
    }
}

/// A text. An empty one is what stands where nothing does.
fn text(tag: u32, value: &str, to: &mut Vec<u8>) {
    if !value.is_empty() {
        bytes(tag, value.as_bytes(), to);
    }
}

fn bytes(tag: u32, value: &[u8], to: &mut Vec<u8>) {
    begin(tag, value.len(), to);
    to.extend_from_slice(value);
}

/// What stands before so many bytes.
fn begin(tag: u32, length: usize, to: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, to);
    encode_varint(length as u64, to);
}

/// How many bytes become of so many with what stands before them.
fn len_of(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

/// What `write` writes, behind its length: mostly of one byte, for which room is left.
fn nested(tag: u32, to: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    encode_key(tag, WireType::LengthDelimited, to);
    let at = to.len();
    to.push(0);
    write(to);
    let length = to.len() - at - 1;
    if let (Ok(short @ ..=0x7f), Some(place)) = (u8::try_from(length), to.get_mut(at)) {
        *place = short;
    } else {
        let mut long = Vec::new();
        encode_varint(length as u64, &mut long);
        to.splice(at..=at, long);
    }
}

#[cfg(test)]
mod tests;
