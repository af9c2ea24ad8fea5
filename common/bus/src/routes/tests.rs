//! A handler does not know in which encoding it was asked; each kind of end looks the same in its own way.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use latchkey_contract::keys::{KeyObject, KeyPage, ListKeys, Ready, RecordUses};
use latchkey_contract::wire::{self, CONTRACT, Contracts, PREVIOUS};
use latchkey_contract::{Actor, KeyId, Owner, SessionId, Timestamp, UserId};

use serde::{Deserialize, Serialize};

use super::*;

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
    (routes.entries[0].handler)(context(), incoming(encoding, payload)).await
}

fn incoming(encoding: Encoding, payload: &[u8]) -> Incoming {
    let (reads, payload) = (Contracts::OWN, Bytes::copy_from_slice(payload));
    Incoming { encoding, reads, caller: None, payload }
}

/// What an edge sends for a user.
fn from_an_edge(encoding: Encoding, payload: &[u8]) -> (Context, Incoming) {
    let actor = Actor::User { id: UserId(1), session: SessionId([1; 16]) };
    let caller = Some(Ok(Arc::new(Caller::of(actor, RequestId::new("test")))));
    let context = Context { asker: Some(Arc::from("edge")), ..context() };
    (context, Incoming { caller, ..incoming(encoding, payload) })
}

fn in_bincode() -> Vec<u8> {
    wire::encode(&ASK, CONTRACT).unwrap()
}

#[tokio::test]
async fn an_answer_comes_in_the_encoding_of_its_request() {
    let bincode = answer_to(|| Ok(()), Encoding::Bincode, &in_bincode()).await;
    assert_eq!((bincode.status, &bincode.payload[..]), (Status::Answered, &[3, 0, 0][..]));
    let json = answer_to(|| Ok(()), Encoding::Json, ASK_JSON.as_bytes()).await;
    assert_eq!((json.status, &json.payload[..]), (Status::Answered, &b"null"[..]));
    assert_eq!((bincode.encoding, json.encoding), (Encoding::Bincode, Encoding::Json));
}

#[tokio::test]
async fn an_answer_has_the_number_of_its_request() {
    let before = wire::encode(&ASK, PREVIOUS).unwrap();
    let answer = answer_to(|| Ok(()), Encoding::Bincode, &before).await;
    assert_eq!(answer.payload[..], [2, 0, 0]);
    let answer = answer_to(|| Err(Refusal::KeyNotFound.into()), Encoding::Bincode, &before).await;
    assert_eq!(answer.payload[..], [2, 0, 1, 5]);
}

#[tokio::test]
async fn a_refusal_is_an_answer_in_bincode_and_an_error_with_a_document_in_json() {
    let refuse = || Err(Refusal::Invalid(vec![FieldError::new("key", "is odd")]).into());
    let bincode = answer_to(refuse, Encoding::Bincode, &in_bincode()).await;
    assert_eq!(bincode.status.code(), None);
    let json = answer_to(refuse, Encoding::Json, ASK_JSON.as_bytes()).await;
    assert_eq!(json.status.code(), Some(422));
    let text = r#"{"code":"invalid","errors":[{"field":"key","message":"is odd"}]}"#;
    assert_eq!(&json.payload[..], text.as_bytes());
}

#[tokio::test]
async fn our_own_troubles_are_told_in_headers_alone() {
    let ends: [(End, Status, u16); 5] = [
        (|| Err(Forbidden("not theirs").into()), Status::Forbidden, 403),
        (|| Err(Failure::Overloaded), Status::Overloaded, 503),
        (|| Err(Failure::Unavailable("away".into())), Status::Unavailable, 503),
        (|| Err(Failure::Fault("broken".into())), Status::Fault, 500),
        (|| panic!("a bug"), Status::Fault, 500),
    ];
    for (end, status, code) in ends {
        for (encoding, payload) in
            [(Encoding::Bincode, in_bincode()), (Encoding::Json, ASK_JSON.as_bytes().to_vec())]
        {
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
    for unreadable in [&[][..], &[1], &[2, 0], &[9, 0, 0], &[2, 0, 1], ASK_JSON.as_bytes()] {
        let bincode = answer_to(|| panic!("it was read"), Encoding::Bincode, unreadable).await;
        assert_eq!((bincode.status, bincode.payload.len()), (Status::Unreadable, 0));
        assert_eq!(bincode.reads, Some(Contracts::OWN), "{unreadable:?}");
    }
}

#[tokio::test]
async fn a_payload_is_in_no_debug_output() {
    let routes = Routes::new("test", "0.0.0", "").on::<Ready, _, _>(async |_, Ready| Ok(()));
    let response = (routes.entries[0].handler)(context(), incoming(Encoding::Json, b"null")).await;
    assert_eq!(response.status, Status::Answered);
    assert!(!format!("{response:?}").contains("null"), "{response:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_large_for_a_message_is_refused_with_its_reason() {
    let owner = Owner::User(UserId(1));
    let bare = KeyObject::bare(KeyId(1), owner, Timestamp(0), Timestamp(0));
    let key = KeyObject { name: "x".repeat(1_000), ..bare };
    let routes = Routes::new("test", "0.0.0", "").on::<ListKeys, _, _>(move |_, _| {
        let page = KeyPage { keys: vec![key.clone(); 100], next: None };
        async { Ok(page) }
    });
    let ask = ListKeys::of(UserId(1), KeyId(0), 100);
    let handler = &routes.entries[0].handler;
    let payload = wire::encode(&ask, CONTRACT).unwrap();
    let (context, incoming) = from_an_edge(Encoding::Bincode, &payload);
    let response = handler(context, incoming).await;
    assert_eq!(response.status, Status::Answered);
    let (_, reply): (_, Result<KeyPage, Refusal>) =
        wire::decode(&response.payload, Contracts::OWN).unwrap();
    assert!(matches!(reply, Err(Refusal::Invalid(faults)) if faults[0].message.contains("fewer")));
    let payload = wire::to_json(&ask).unwrap();
    let (context, incoming) = from_an_edge(Encoding::Json, &payload);
    let response = handler(context, incoming).await;
    assert_eq!(response.status.code(), Some(422));
    let text = String::from_utf8(response.payload.to_vec()).unwrap();
    assert!(text.contains("ask for fewer at once"), "{text}");
}

/// What becomes of a message that such an asker sends, who says that this one acts.
async fn told<R: Rpc<Reply = ()>>(
    asker: Option<&str>,
    said: Option<Result<Actor, Malformed>>,
    payload: &[u8],
) -> (Status, Option<Actor>) {
    let (heard, was) = (Arc::new(Mutex::new(None)), |caller: Arc<Caller>| caller.actor.clone());
    let notes = Arc::clone(&heard);
    let routes = Routes::new("test", "0.0.0", "").on::<R, _, _>(move |context: Context, _| {
        *notes.lock().unwrap() = context.caller.map(was);
        async { Ok(()) }
    });
    let caller = said.map(|said| said.map(|it| Arc::new(Caller::of(it, RequestId::new("test")))));
    let context = Context { asker: asker.map(Arc::from), ..context() };
    let incoming = Incoming { caller, ..incoming(Encoding::Bincode, payload) };
    let response = (routes.entries[0].handler)(context, incoming).await;
    let heard = heard.lock().unwrap().take();
    (response.status, heard)
}

/// A command of an edge's, and one of an operator's.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfAnEdge;
#[derive(Clone, Debug, Serialize, Deserialize)]
struct OfAnOperator;

latchkey_contract::same!(OfAnEdge, OfAnOperator);

impl Rpc for OfAnEdge {
    const SUBJECT: &'static str = "v1.test.command";
    const TIMEOUT: Duration = Duration::from_mins(1);
    const SENDER: Option<Sender> = Some(Sender::Edge);
    type Reply = ();
}

impl Rpc for OfAnOperator {
    const SUBJECT: &'static str = "v1.test.operator.command";
    const TIMEOUT: Duration = Duration::from_mins(1);
    const SENDER: Option<Sender> = Some(Sender::Operator);
    type Reply = ();
}

#[tokio::test]
async fn a_handler_is_told_who_acts_by_the_user_of_the_bus_who_may_say_it_and_by_nobody_else() {
    let user = || Actor::User { id: UserId(7), session: SessionId([1; 16]) };
    let operator = || Actor::Operator { name: "operator".into() };
    let now = &CONTRACT.to_le_bytes();
    for (asker, actor) in [("edge", user()), ("edge-2", Actor::Anonymous)] {
        let heard = told::<OfAnEdge>(Some(asker), Some(Ok(actor.clone())), now).await;
        assert_eq!(heard, (Status::Answered, Some(actor)), "{asker}");
    }
    let heard = told::<OfAnOperator>(Some("operator"), Some(Ok(operator())), now).await;
    assert_eq!(heard, (Status::Answered, Some(operator())));

    let forbidden = (Status::Forbidden, None);
    for asker in [None, Some("identity"), Some("keys"), Some("member"), Some("verifier")] {
        let heard = told::<OfAnEdge>(asker, Some(Ok(user())), now).await;
        assert_eq!(heard, forbidden, "{asker:?}");
        let heard = told::<OfAnOperator>(asker, Some(Ok(operator())), now).await;
        assert_eq!(heard, forbidden, "{asker:?}");
    }
    assert_eq!(told::<OfAnEdge>(Some("operator"), Some(Ok(operator())), now).await, forbidden);
    assert_eq!(told::<OfAnEdge>(Some("edge"), Some(Ok(operator())), now).await, forbidden);
    assert_eq!(told::<OfAnOperator>(Some("edge"), Some(Ok(user())), now).await, forbidden);
    let ada = Actor::Operator { name: "operator-ada".into() };
    assert_eq!(told::<OfAnOperator>(Some("operator"), Some(Ok(ada)), now).await, forbidden);
}

#[tokio::test]
async fn a_command_that_does_not_say_who_acts_is_refused_by_either_contract() {
    let (now, before) = (&CONTRACT.to_le_bytes(), &PREVIOUS.to_le_bytes());
    let forbidden = (Status::Forbidden, None);
    for said in [None, Some(Err(Malformed))] {
        assert_eq!(told::<OfAnEdge>(Some("edge"), said.clone(), now).await, forbidden);
        assert_eq!(told::<OfAnOperator>(Some("operator"), said.clone(), now).await, forbidden);
        assert_eq!(told::<OfAnOperator>(Some("operator"), said.clone(), before).await, forbidden);
        assert_eq!(told::<OfAnEdge>(Some("edge"), said, before).await, forbidden);
    }
}

#[tokio::test]
async fn what_is_said_of_who_acts_where_nobody_does_is_not_believed() {
    let payload = in_bincode();
    for asker in [None, Some("edge"), Some("member")] {
        let heard = told::<RecordUses>(asker, Some(Ok(Actor::Anonymous)), &payload).await;
        assert_eq!(heard, (Status::Answered, None), "{asker:?}");
    }
}
