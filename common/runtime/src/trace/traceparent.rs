//! The header `traceparent` (W3C Trace Context, §3.2). By hand: the project's own reader costs a traced request as much
//! as the writing of its span.

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// The version that has no further fields. Any other may have some.
const FIRST: &str = "00";
/// What no version is called.
const FORBIDDEN: &str = "ff";

/// Trace, span and what else is said of them, as far as it is known here; `None` for what is no such header.
pub(super) fn read(text: &str) -> Option<(TraceId, SpanId, TraceFlags)> {
    let mut fields = text.trim().split('-');
    let mut field =
        |digits| fields.next().filter(|it| it.len() == digits && it.bytes().all(is_digit));
    let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    if version == FORBIDDEN || version == FIRST && fields.next().is_some() {
        return None;
    }
    let (high, low) = trace.split_at_checked(16)?;
    let trace = u128::from(number(high)?) << 64 | u128::from(number(low)?);
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    Some((TraceId::from(trace), SpanId::from(number(span)?), flags))
}

fn number(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

/// Capital letters are none.
fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn what_the_standard_calls_a_header_is_read() {
        for (text, is_sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!(" 00-{TRACE}-{SPAN}-00 "), false),
            (format!("00-{TRACE}-{SPAN}-ff"), true),
            (format!("00-{TRACE}-{SPAN}-02"), false),
            (format!("cc-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what-is-to-come"), true),
        ] {
            let (trace, span, flags) = read(&text).unwrap();
            assert_eq!(
                (trace.to_string(), span.to_string()),
                (TRACE.into(), SPAN.into()),
                "{text}"
            );
            assert_eq!(
                flags,
                if is_sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED }
            );
        }
    }

    #[test]
    fn nothing_else_is() {
        for text in [
            String::new(),
            "00".into(),
            format!("00-{TRACE}-{SPAN}"),
            format!("00-{TRACE}-{SPAN}-"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{TRACE}0-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", TRACE.replacen('0', "+", 1)),
            format!("00-{}-{SPAN}-01", TRACE.replacen("0a", "é", 1)),
            format!("00-{TRACE}-{}-01", SPAN.replacen('b', "", 1)),
            format!("00_{TRACE}_{SPAN}_01"),
        ] {
            assert_eq!(read(&text), None, "{text}");
        }
    }
}
