//! An actor has one spelling, a user agent hides nothing, and nobody acts for another.

use super::*;

const SESSION: SessionId = SessionId([0xab; 16]);

fn actors() -> [Actor; 5] {
    [
        Actor::Anonymous,
        Actor::User { id: UserId(7), session: SESSION },
        Actor::Key { id: KeyId(5), owner: Owner::User(UserId(7)) },
        Actor::Operator { name: "operator-ada".into() },
        Actor::System { service: "edge".into() },
    ]
}

#[test]
fn an_actor_has_one_spelling() {
    let spelt = [
        "anonymous",
        "user:7:abababababababababababababababab",
        "key:5:user:7",
        "operator:operator-ada",
        "system:edge",
    ];
    for (actor, text) in actors().iter().zip(spelt) {
        assert_eq!(actor.to_string(), text);
        assert_eq!(text.parse().as_ref(), Ok(actor));
    }
    let long = format!("operator:{}", "x".repeat(MAX_NAME + 1));
    for wrong in [
        "",
        "untold",
        "root",
        "anonymous:",
        "Anonymous",
        "user:7",
        "user:07:abababababababababababababababab",
        "user:+7:abababababababababababababababab",
        "user:7:ABABABABABABABABABABABABABABABAB",
        "user:7:abababababababababababababababab:",
        "user:x:abababababababababababababababab",
        "key:5",
        "key:5:org:7",
        "key:5:user:7:8",
        "operator:",
        "operator:a b",
        "operator:a:b",
        "operator:\u{e9}",
        &long,
    ] {
        assert_eq!(wrong.parse::<Actor>(), Err(Malformed), "{wrong:?}");
    }
}

#[test]
fn an_edge_names_its_clients_and_itself_and_an_operator_nobody_else() {
    let named = |sender: Sender, user| actors().map(|actor| sender.may_name(user, &actor));
    assert_eq!(named(Sender::Edge, "edge-2"), [true, true, true, false, true]);
    assert_eq!(named(Sender::Operator, "operator-ada"), [false, false, false, true, false]);
    assert_eq!(named(Sender::Operator, "operator"), [false; 5], "another operator");
    let keys = Actor::System { service: "keys".into() };
    assert!(!Sender::Edge.may_name("edge", &keys));
}

#[test]
fn a_user_of_the_bus_has_a_role_by_its_name() {
    for edge in ["edge", "edge-1", "edge-berlin-2"] {
        assert!(Sender::Edge.is(edge) && !Sender::Operator.is(edge), "{edge}");
    }
    for other in ["", "edge1", "edge_1", "Edge", "my-edge", "operator", "identity", "local"] {
        assert!(!Sender::Edge.is(other), "{other}");
    }
}

#[test]
fn whoever_acts_acts_on_themselves_alone() {
    let request_id = RequestId::new("r");
    for actor in actors() {
        let caller = Caller::of(actor, request_id.clone());
        let is_user = matches!(caller.actor, Actor::User { .. });
        assert_eq!(caller.acts_as(UserId(7)).is_ok(), is_user, "{caller:?}");
        assert_eq!(caller.acts_by(SESSION).is_ok(), is_user, "{caller:?}");
        assert_eq!(caller.user().is_ok(), is_user, "{caller:?}");
        assert!(caller.acts_as(UserId(8)).is_err(), "{caller:?}");
        assert!(caller.acts_by(SessionId([1; 16])).is_err(), "{caller:?}");
    }
}

#[test]
fn a_user_agent_is_short_and_hides_nothing() {
    let kept = |bytes: &[u8]| UserAgent::clean(bytes).map(|it| it.as_str().to_owned());
    for (header, text) in [
        (&b" curl/8.5 "[..], "curl/8.5"),
        (b"a\tb\x1b[31m\x7f", "a\\u{9}b\\u{1b}[31m\\u{7f}"),
        ("caf\u{e9} \u{202e}x\u{85}".as_bytes(), "caf\u{e9} \\u{202e}x\\u{85}"),
        (b"\xff", "\u{fffd}"),
        ("\u{3000}caf\u{e9}\u{a0}x\u{a0}".as_bytes(), "caf\u{e9}\u{a0}x"),
    ] {
        assert_eq!(kept(header).as_deref(), Some(text));
    }
    assert_eq!(kept(b""), None);
    for spaces in ["  ", "\u{a0}", "\u{3000} \u{2003}"] {
        assert_eq!(kept(spaces.as_bytes()), None, "{spaces:?}");
    }
    for long in ["x".repeat(9_000), "\u{1b}".repeat(9_000), "\u{10400}".repeat(9_000)] {
        let agent = UserAgent::clean(long.as_bytes()).unwrap();
        assert!((UserAgent::MAX - 6..=UserAgent::MAX).contains(&agent.as_str().len()));
        assert_eq!(agent.as_str().parse(), Ok(agent.clone()), "what is kept is taken");
    }
    let too_long = "x".repeat(UserAgent::MAX + 1);
    for wrong in ["", "a\nb", "a\u{202e}b", &too_long] {
        assert_eq!(wrong.parse::<UserAgent>(), Err(Malformed), "{wrong:?}");
    }
}

#[test]
fn what_is_printed_of_a_caller_holds_no_address_and_no_user_agent() {
    let caller = Caller {
        actor: Actor::User { id: UserId(7), session: SESSION },
        address: Some([203, 0, 113, 7].into()),
        kept: Kept::Full,
        user_agent: UserAgent::clean(b"curl/8.5"),
        request_id: RequestId::new("r"),
    };
    let printed = format!("{caller:?} {:?}", caller.user_agent);
    for hidden in ["203", "curl", "abab"] {
        assert!(!printed.contains(hidden), "{printed}");
    }
    assert!(printed.contains("\"user\"") && printed.contains("\"r\""), "{printed}");
}
