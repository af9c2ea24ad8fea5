use super::*;

fn scopes(text: &str) -> Scopes {
    Scopes::parse(text).unwrap()
}

#[test]
fn a_grant_covers_what_begins_with_it_and_nothing_reserved_by_a_shorter_wildcard() {
    for (granted, scope, covered) in [
        ("*", "orders:read", true),
        ("*", "latchkey", true),
        ("*", "latchkeys:read", true),
        ("*", "latchkey:verify", false),
        ("*", "latchkey:*", false),
        ("latchkey:*", "latchkey:verify", true),
        ("latchkey:keys:*", "latchkey:keys:read", true),
        ("latchkey:keys:*", "latchkey:verify", false),
        ("latchkey:keys:*", "latchkey:*", false),
        ("latchkey:*", "latchkey:keys:*", true),
        ("latchkey:verify", "latchkey:verify", true),
        ("* latchkey:verify", "latchkey:verify", true),
        ("orders:*", "orders:read", true),
        ("orders:*", "orders:", true),
        ("orders:*", "orders", false),
        ("orders:*", "ordersread", false),
        ("orders:*", "*", false),
        ("orders.*", "orders:read", false),
        ("a/*", "a/b/c", true),
        ("orders:read", "orders:read", true),
        ("orders:read", "orders:reader", false),
        ("orders:read", "Orders:read", false),
        ("", "orders:read", false),
        ("", "*", false),
        ("*", "*", true),
    ] {
        assert_eq!(scopes(granted).cover(scope), covered, "{granted:?} and {scope:?}");
    }
}

#[test]
fn a_grant_has_its_form_and_a_set_its_bounds() {
    let longest = "a".repeat(MAX_LENGTH);
    for good in ["*", "a", "0", "a:*", "a.b/*", "A-b_c:d/e.f", "a:", longest.as_str()] {
        assert!(Scopes::of([good]).is_ok(), "{good}");
    }
    let too_long = "a".repeat(MAX_LENGTH + 1);
    let wildcard = format!("{}:*", "a".repeat(MAX_LENGTH - 1));
    for bad in [
        "",
        " ",
        "a b",
        "**",
        "a*",
        "a-*",
        "a_*",
        ":*",
        ".a",
        ":a",
        "-a",
        "a*b",
        "*a",
        "a:**",
        "ä",
        "a\n",
        "a,b",
        "a\"",
        too_long.as_str(),
        wildcard.as_str(),
    ] {
        assert_eq!(Scopes::of(["a", bad]), Err(ScopeError::NoGrant(1)), "{bad:?}");
    }
    let numbered = |count: usize| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>();
    let of = |texts: &[String]| Scopes::of(texts.iter().map(String::as_str));
    assert_eq!(of(&numbered(MAX_GRANTS)).unwrap().iter().count(), MAX_GRANTS);
    assert_eq!(of(&numbered(MAX_GRANTS + 1)), Err(ScopeError::TooMany));
    assert_eq!(of(&numbered(10_000)), Err(ScopeError::TooMany));
    let long: Vec<_> = (0..MAX_GRANTS).map(|n| format!("{n:040}")).collect();
    assert_eq!(of(&long), Err(ScopeError::TooLong));
}

#[test]
fn a_set_is_in_order_and_each_scope_stands_once() {
    let set = Scopes::of(["b", "a", "b", "*"]).unwrap();
    assert_eq!(set.as_text(), "* a b");
    assert_eq!(Scopes::parse(set.as_text()).unwrap(), set);
    assert!(scopes("").is_empty() && scopes("").iter().next().is_none());
    assert_eq!(Scopes::parse("a  b"), Err(ScopeError::NoGrant(1)), "a scope is missing");
    assert_eq!(Scopes::everything(), scopes("*"));
}

#[test]
fn a_requirement_is_one_alternative_with_all_its_scopes() {
    let any = |texts: &[&str]| ScopeRequirement::any_of(texts.iter().copied()).unwrap();
    for (required, granted, met) in [
        (&["a b"][..], "a b", true),
        (&["a b"], "a", false),
        (&["a b"], "b *", true),
        (&["a b", "admin"], "a", false),
        (&["a b", "admin"], "admin", true),
        (&["x:y"], "x:*", true),
        (&["latchkey:verify"], "*", false),
        (&["a"], "", false),
    ] {
        assert_eq!(any(required).is_met_by(&scopes(granted)), met, "{required:?} of {granted:?}");
    }
}

#[test]
fn a_requirement_that_is_empty_or_that_nothing_meets_is_refused() {
    let too_many = vec!["a"; MAX_ALTERNATIVES + 1];
    for bad in [
        &[][..],
        &[""],
        &["a", ""],
        &[" "],
        &["a "],
        &["a  b"],
        &["*"],
        &["a:*"],
        &["a\tb"],
        too_many.as_slice(),
    ] {
        let refused = ScopeRequirement::any_of(bad.iter().copied());
        assert_eq!(refused, Err(ScopeError::NoRequirement), "{bad:?}");
    }
    let many = vec!["a"; MAX_ALTERNATIVES];
    assert!(ScopeRequirement::any_of(many).is_ok());
    let all = |count: usize| ScopeRequirement::any_of([vec!["a"; count].join(" ").as_str()]);
    assert!(all(MAX_GRANTS).is_ok());
    assert_eq!(all(MAX_GRANTS + 1), Err(ScopeError::NoRequirement));
}

#[test]
fn in_json_a_requirement_is_a_text_or_a_list_and_scopes_are_a_list() {
    let sent = |json: &str| serde_json::from_str::<RequiredScope>(json).ok();
    let read = |json: &str| sent(json).ok_or(ScopeError::NoRequirement)?.read();
    assert_eq!(read(r#""a b""#).unwrap(), read(r#"["a b"]"#).unwrap());
    assert_eq!(
        read(r#"["a b","admin"]"#).unwrap().alternatives().collect::<Vec<_>>(),
        ["a b", "admin"]
    );
    for bad in [r#""""#, "[]", r#"[""]"#, "null", "1", "{}", r#"["a",1]"#, r#"["*"]"#, r#"[["a"]]"#]
    {
        assert!(read(bad).is_err(), "{bad}");
    }
    // What is of another type is no text at all; what is empty is one, and says nothing.
    for (json, is_sent) in [(r#""""#, true), ("[]", true), ("1", false), (r#"["a",1]"#, false)] {
        assert_eq!(sent(json).is_some(), is_sent, "{json}");
    }
    let many = serde_json::to_string(&vec!["a"; 1_000]).unwrap();
    assert_eq!(sent(&many).unwrap().0.len(), MAX_ALTERNATIVES + 1);
    assert!(read(&many).is_err());
    assert_eq!(serde_json::to_string(&scopes("b a:*")).unwrap(), r#"["a:*","b"]"#);
    assert_eq!(serde_json::from_str::<Scopes>("[]").unwrap(), Scopes::default());
    for bad in ["null", r#""a""#, r#"["a b"]"#, r#"[""]"#] {
        assert!(serde_json::from_str::<Scopes>(bad).is_err(), "{bad}");
    }
}

/// Numbers that look random, the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn scope(&mut self) -> String {
        const PARTS: [&str; 4] = ["a", "b", "latchkey", "latchkeys"];
        let depth = 1 + self.below(3);
        let parts: Vec<_> = (0..depth).map(|_| PARTS[self.below(PARTS.len())]).collect();
        parts.join([":", ".", "/"][self.below(3)])
    }

    fn grant(&mut self) -> String {
        match self.below(6) {
            0 => "*".to_owned(),
            1 | 2 => format!("{}{}*", self.scope(), [":", ".", "/"][self.below(3)]),
            _ => self.scope(),
        }
    }

    fn scopes(&mut self) -> Scopes {
        let grants: Vec<_> = (0..self.below(5)).map(|_| self.grant()).collect();
        Scopes::of(grants.iter().map(String::as_str)).unwrap()
    }
}

/// The rule as the contract words it, apart from the code that is tested.
fn may(granted: &Scopes, scope: &str) -> bool {
    granted.iter().any(|grant| {
        let Some((start, "")) = grant.rsplit_once('*') else { return grant == scope };
        let is_reserved = scope.starts_with("latchkey:") && start.len() < "latchkey:".len();
        scope.starts_with(start) && !is_reserved
    })
}

#[test]
fn what_both_cover_is_the_intersection_and_what_lies_within_covers_no_more() {
    let mut numbers = Numbers(0x5eed);
    let (mut within, mut covered) = (0, 0);
    for _ in 0..50_000 {
        let (one, other, scope) = (numbers.scopes(), numbers.scopes(), numbers.scope());
        let both = one.intersection(&other);
        assert_eq!(both, other.intersection(&one));
        assert_eq!(
            both.cover(&scope),
            may(&one, &scope) && may(&other, &scope),
            "{one}, {other}, {scope}"
        );
        assert!(both.is_within(&one) && both.is_within(&other), "{one}, {other}");
        assert_eq!(one.is_within(&other), one.beyond(&other).count() == 0);
        assert!(
            !one.is_within(&other) || one == one.intersection(&other) || one.is_within(&both),
            "{one}, {other}"
        );
        if one.is_within(&other) && may(&one, &scope) {
            within += 1;
            assert!(may(&other, &scope), "{one} lies within {other}, but {scope}");
        }
        let required = ScopeRequirement::any_of([scope.as_str()]).unwrap();
        assert_eq!(required.is_met_by(&one), may(&one, &scope));
        covered += usize::from(may(&one, &scope));
    }
    assert!(within > 500 && covered > 5_000, "{within} and {covered}: is anything tried here?");
}

#[test]
fn what_two_full_sets_have_in_common_can_be_written_and_read() {
    let set = |wide: &str, narrow: &str| {
        let narrow = (1..MAX_GRANTS).map(|n| format!("{narrow}:{n}"));
        let all: Vec<_> = narrow.chain([format!("{wide}:*")]).collect();
        Scopes::of(all.iter().map(String::as_str)).unwrap()
    };
    let both = set("a", "b").intersection(&set("b", "a"));
    assert_eq!(both.iter().count(), 2 * (MAX_GRANTS - 1));
    assert_eq!(Scopes::parse(both.as_text()), Ok(both.clone()));
    let json = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<Scopes>(&json).unwrap(), both);
    assert_eq!(Scopes::of(both.iter()), Err(ScopeError::TooMany));
    let more: Vec<_> = (0..=2 * MAX_GRANTS).map(|n| n.to_string()).collect();
    assert_eq!(Scopes::parse(&more.join(" ")), Err(ScopeError::TooMany));
}
