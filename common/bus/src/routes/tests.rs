//! A handler does not know in which encoding it was asked; each kind of end looks the same in its own way.

use std::time::Duration;

use latchkey_contract::FieldError;
use latchkey_contract::keys::{Ready, RecordUses};
use latchkey_contract::wire;

use super::*;
use crate::envelope::RequestId;

const ASK: RecordUses = RecordUses { uses: Vec::new() };
const ASK_JSON: &str = r#"{"uses": []}"#;

fn context() -> Context {
    Context::new(RequestId::new("test"), Duration::from_mins(1))
}

/// How a handler ends.
type End = fn() -> Result<(), Failure>;

/// What a handler that always ends like `end` answers to this message.
async fn answer_to(end: End, encoding: Encoding, payload: &[u8]) -> Response {
    let routes =
        Routes::new("test", "0.0.0", "").on::<RecordUses, _, _>(move |_, ask| async move {
            assert_eq!(ask.uses, ASK.uses);
            end()
        });
    (routes.entries[0].handler)(context(), encoding, Bytes::copy_from_slice(payload)).await
}

#[tokio::test]
async fn an_answer_comes_in_the_encoding_of_its_request() {
    let bincode = answer_to(|| Ok(()), Encoding::Bincode, &wire::encode(&ASK).unwrap()).await;
    assert_eq!((bincode.status, &bincode.payload[..]), (Status::Answered, &[0][..]));
    let json = answer_to(|| Ok(()), Encoding::Json, ASK_JSON.as_bytes()).await;
    assert_eq!((json.status, &json.payload[..]), (Status::Answered, &b"null"[..]));
    assert_eq!((bincode.encoding, json.encoding), (Encoding::Bincode, Encoding::Json));
}

#[tokio::test]
async fn a_refusal_is_an_answer_in_bincode_and_an_error_with_a_document_in_json() {
    let refuse = || Err(Refusal::Invalid(vec![FieldError::new("key", "is odd")]).into());
    let bincode = answer_to(refuse, Encoding::Bincode, &wire::encode(&ASK).unwrap()).await;
    assert_eq!(bincode.status.code(), None);
    let json = answer_to(refuse, Encoding::Json, ASK_JSON.as_bytes()).await;
    assert_eq!(json.status.code(), Some(422));
    let text = r#"{"code":"invalid","errors":[{"field":"key","message":"is odd"}]}"#;
    assert_eq!(&json.payload[..], text.as_bytes());
}

#[tokio::test]
async fn our_own_troubles_are_told_in_headers_alone() {
    let ends: [(End, Status, u16); 4] = [
        (|| Err(Failure::Overloaded), Status::Overloaded, 503),
        (|| Err(Failure::Unavailable("away".into())), Status::Unavailable, 503),
        (|| Err(Failure::Fault("broken".into())), Status::Fault, 500),
        (|| panic!("a bug"), Status::Fault, 500),
    ];
    for (end, status, code) in ends {
        for (encoding, payload) in [
            (Encoding::Bincode, wire::encode(&ASK).unwrap()),
            (Encoding::Json, ASK_JSON.as_bytes().to_vec()),
        ] {
            let response = answer_to(end, encoding, &payload).await;
            assert_eq!((response.status, response.status.code()), (status, Some(code)));
            assert!(response.payload.is_empty());
            let read = Status::from_headers(&code.to_string(), response.status.message());
            assert_eq!(read, status);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_said_without_quoting_it() {
    let json = answer_to(|| Ok(()), Encoding::Json, br#"{"uses": "sesame"}"#).await;
    assert_eq!(json.status, Status::Unreadable);
    let text = String::from_utf8(json.payload.to_vec()).unwrap();
    assert!(text.contains(r#""code":"unreadable""#) && !text.contains("sesame"), "{text}");
    let bincode = answer_to(|| Ok(()), Encoding::Bincode, &[1]).await;
    assert_eq!((bincode.status, bincode.payload.len()), (Status::Unreadable, 0));
    let crossed = answer_to(|| Ok(()), Encoding::Bincode, ASK_JSON.as_bytes()).await;
    assert_eq!(crossed.status, Status::Unreadable);
}

#[tokio::test]
async fn a_payload_is_in_no_debug_output() {
    let routes = Routes::new("test", "0.0.0", "").on::<Ready, _, _>(async |_, Ready| Ok(()));
    let response = (routes.entries[0].handler)(context(), Encoding::Json, "null".into()).await;
    assert_eq!(response.status, Status::Answered);
    assert!(!format!("{response:?}").contains("null"), "{response:?}");
}
