//! Listing keys: which of them, from which end, a page at a time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::LINK;
use axum::http::{HeaderMap, HeaderValue};
use latchkey_bus::{Bus, Context};
use latchkey_contract::credential::KeyEnvironment;
use latchkey_contract::keys::{KeyFilter, KeyOrigin, KeyPage, KeyState, ListKeys, rules};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{CallError, FieldError, KeyId, UserId};
use utoipa::IntoParams;

use super::fields::moment;
use super::object::KeyBody;
use crate::body::positive;
use crate::credential::{Owner, Read};
use crate::problem::Problem;
use crate::state::Edge;

/// Keys of a page where the client does not say.
const DEFAULT_LIMIT: usize = 100;
/// Keys of a page at most.
const MAX_LIMIT: usize = 1_000;
/// What a query may hold once, and what several times.
const ONCE: [&str; 10] = [
    "limit",
    "after",
    "order",
    "environment",
    "name",
    "origin",
    "external_id",
    "expires_before",
    "unused_since",
    "lineage",
];
const STATE: &str = "state";
const TAG: &str = "tag";

/// Which keys to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it is the description of what `read` reads")]
pub struct ListQuery {
    /// How many keys at most.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<i64>,
    /// Only keys behind this one: with a greater id, or with a smaller one where the newest come first.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// `desc`: the newest first.
    #[param(pattern = "^(asc|desc)$")]
    order: Option<String>,
    /// In this state; named several times: in one of these.
    #[param(pattern = "^(revoked|expired|disabled|inactive|retiring|active)$")]
    state: Option<String>,
    /// With this tag; named several times: with all of them.
    #[param(pattern = "^[a-z0-9][a-z0-9._:/-]{0,49}$")]
    tag: Option<String>,
    /// Of this environment.
    #[param(pattern = "^[a-z0-9]{2,12}$")]
    environment: Option<String>,
    /// With this text in their name, in any case.
    #[param(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// From there.
    #[param(pattern = "^(issued|imported)$")]
    origin: Option<String>,
    /// With this external id.
    #[param(pattern = "^[!-~]{1,128}$")]
    external_id: Option<String>,
    /// Which end before.
    #[param(value_type = Option<String>, format = DateTime)]
    expires_before: Option<String>,
    /// Which were not used since, or never.
    #[param(value_type = Option<String>, format = DateTime)]
    unused_since: Option<String>,
    /// Of this key's lineage.
    #[param(minimum = 1)]
    lineage: Option<i64>,
}

/// What a query asks for.
struct Asked {
    limit: usize,
    after: Option<KeyId>,
    newest_first: bool,
    filter: KeyFilter,
    /// What the query of the next page holds, too.
    kept: String,
}

/// List your API keys, newest last
#[utoipa::path(get, path = "/keys", tag = "keys", params(ListQuery),
    responses((status = 200, description = "A page of keys; `Link` names the next one",
        body = Vec<KeyBody>, headers(("Link" = String, description = "`<…>; rel=\"next\"` while there may be more")))))]
pub(crate) async fn list(
    State(edge): State<Arc<Edge>>,
    Owner { user, context, .. }: Owner<Read>,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<(HeaderMap, Json<Vec<KeyBody>>), Problem> {
    let Query(pairs) = query.map_err(|_unreadable| Problem::invalid(vec![no_query()]))?;
    let asked = read(&pairs).map_err(Problem::invalid)?;
    let page = pages(&edge.bus, &context, user, &asked).await?;
    let mut headers = HeaderMap::new();
    if let Some(KeyId(next)) = page.next {
        let Asked { limit, kept, .. } = asked;
        // Relative to the request (RFC 8288 §3.1): a proxy may have stripped a prefix of its path.
        let link = format!("<?limit={limit}&after={next}{kept}>; rel=\"next\"");
        headers.extend(HeaderValue::try_from(link).ok().map(|link| (LINK, link)));
    }
    Ok((headers, Json(page.keys.into_iter().map(|key| KeyBody::new(key, user)).collect())))
}

/// Asks for as many messages' worth of keys as the page takes.
async fn pages(
    bus: &Bus,
    context: &Context,
    owner: UserId,
    asked: &Asked,
) -> Result<KeyPage, CallError> {
    let (mut keys, mut after) = (Vec::new(), asked.after);
    loop {
        let left = (asked.limit - keys.len()).min(MAX_BATCH);
        let ask = ListKeys {
            owner,
            after,
            limit: u32::try_from(left).unwrap_or(1),
            newest_first: asked.newest_first,
            filter: asked.filter.clone(),
        };
        let page = bus.call(context, &ask).await?;
        // A short one that is not heavy has read as many rows as a page may.
        let goes_on = asked.filter.is_empty() || page.keys.len() == left || page.is_heavy();
        keys.extend(page.keys);
        match page.next {
            Some(next) if goes_on && keys.len() < asked.limit => after = Some(next),
            next => return Ok(KeyPage { keys, next }),
        }
    }
}

fn no_query() -> FieldError {
    let message = format!(
        "may hold {} each once, and `state` and `tag` several times",
        ONCE.map(|name| format!("`{name}`")).join(", ")
    );
    FieldError::new("query", message)
}

/// What a query asks for, or every fault. What nobody knows is ignored, as it was before there were filters.
fn read(pairs: &[(String, String)]) -> Result<Asked, Vec<FieldError>> {
    let (mut faults, mut once, mut kept) = (Vec::new(), BTreeMap::new(), String::new());
    let mut filter = KeyFilter::default();
    for (name, value) in pairs {
        let name = name.as_str();
        match name {
            STATE => match KeyState::named(value) {
                Some(state) if !filter.states.contains(&state) => filter.states.push(state),
                Some(_twice) => {}
                None => faults.push(one_of(STATE, &KeyState::ALL.map(KeyState::name))),
            },
            TAG => filter.tags.push(value.clone()),
            "owner" => faults.push(FieldError::new("owner", "cannot be chosen yet: leave it out")),
            name if !ONCE.contains(&name) => continue,
            name if once.insert(name, value.as_str()).is_some() => faults.push(no_query()),
            _ => {}
        }
        if !["limit", "after"].contains(&name) {
            keep(&mut kept, name, value);
        }
    }
    match rules::tags(std::mem::take(&mut filter.tags)) {
        Ok(tags) => filter.tags = tags,
        Err(fault) => faults.push(FieldError::new(TAG, fault.message)),
    }
    let (limit, after, newest_first) = read_page(&once, &mut faults);
    read_filter(&once, &mut filter, &mut faults);
    if faults.is_empty() {
        Ok(Asked { limit, after, newest_first, filter, kept })
    } else {
        Err(faults)
    }
}

/// How many keys, behind which, and from which end.
fn read_page(
    once: &BTreeMap<&str, &str>,
    faults: &mut Vec<FieldError>,
) -> (usize, Option<KeyId>, bool) {
    let mut wrong = |field, message: &str| faults.push(FieldError::new(field, message));
    let limit = match once.get("limit").map(|text| positive(text)) {
        None => Some(DEFAULT_LIMIT),
        Some(number) => number.and_then(|number| usize::try_from(number).ok()),
    };
    let limit = limit.filter(|limit| *limit <= MAX_LIMIT).unwrap_or_else(|| {
        wrong("limit", "must be a whole number from 1 to 1000");
        DEFAULT_LIMIT
    });
    let after = match once.get("after").copied() {
        None | Some("0") => None,
        Some(text) => positive(text).map(KeyId).or_else(|| {
            wrong("after", "must be a key's id");
            None
        }),
    };
    let newest_first = match once.get("order").copied() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(_) => {
            wrong("order", "must be asc or desc");
            false
        }
    };
    (limit, after, newest_first)
}

/// What a query holds at most once of which keys are meant.
fn read_filter(once: &BTreeMap<&str, &str>, filter: &mut KeyFilter, faults: &mut Vec<FieldError>) {
    let wrong = |field: &str, message: &str| FieldError::new(field, message);
    let mut read = |name: &'static str, take: &mut dyn FnMut(&str) -> Result<(), FieldError>| {
        faults.extend(once.get(name).and_then(|text| take(text).err()));
    };
    read("environment", &mut |text| {
        let message = "must be the name of an environment";
        KeyEnvironment::parse(text).map_err(|_malformed| wrong("environment", message))?;
        filter.environment = Some(text.to_owned());
        Ok(())
    });
    read("name", &mut |text| {
        if !(1..=rules::MAX_NAME).contains(&text.chars().count()) {
            return Err(wrong("name", "must have 1 to 100 characters"));
        }
        filter.name = Some(text.to_owned());
        Ok(())
    });
    read("origin", &mut |text| {
        filter.origin = KeyOrigin::named(text);
        let names = [KeyOrigin::Issued, KeyOrigin::Imported].map(KeyOrigin::name);
        if filter.origin.is_some() { Ok(()) } else { Err(one_of("origin", &names)) }
    });
    read("external_id", &mut |text| {
        rules::external_id(text)?;
        filter.external_id = Some(text.to_owned());
        Ok(())
    });
    read("expires_before", &mut |text| {
        filter.expires_before = Some(moment("expires_before", text)?);
        Ok(())
    });
    read("unused_since", &mut |text| {
        filter.unused_since = Some(moment("unused_since", text)?);
        Ok(())
    });
    read("lineage", &mut |text| {
        filter.lineage = positive(text).map(KeyId);
        if filter.lineage.is_some() { Ok(()) } else { Err(wrong("lineage", "must be a key's id")) }
    });
}

fn one_of(field: &str, names: &[&str]) -> FieldError {
    FieldError::new(field, format!("must be one of {}", names.join(", ")))
}

/// Adds a pair to a query, each character that means something there by its number.
fn keep(query: &mut String, name: &str, value: &str) {
    query.push('&');
    query.push_str(name);
    query.push('=');
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            // A text takes whatever is written to it.
            let _written = write!(query, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(pairs: &[(&str, &str)]) -> Result<Asked, Vec<FieldError>> {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        read(&pairs)
    }

    #[test]
    fn the_next_page_is_asked_for_by_the_same_filter() {
        let pairs = [("limit", "5"), ("tag", "a/b"), ("name", "50% ü"), ("x", "y"), ("tag", "c")];
        let asked = asked(&pairs).ok().unwrap();
        assert_eq!((asked.limit, asked.kept.as_str()), (5, "&tag=a%2Fb&name=50%25%20%C3%BC&tag=c"));
        assert_eq!(asked.filter.tags, ["a/b", "c"]);
        assert_eq!(asked.filter.name.as_deref(), Some("50% ü"));
    }

    #[test]
    fn each_faulty_parameter_is_named() {
        for (name, value) in [
            ("state", "good"),
            ("tag", "A"),
            ("environment", "Live"),
            ("name", ""),
            ("origin", "here"),
            ("external_id", "a b"),
            ("expires_before", "tomorrow"),
            ("unused_since", "7"),
            ("lineage", "0"),
            ("order", "DESC"),
            ("owner", "org:3"),
        ] {
            let faults = asked(&[("state", "active"), (name, value)]).err().unwrap();
            let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
            assert_eq!(fields, [name], "{value}");
        }
        let faults = asked(&[("name", "a"), ("name", "b")]).err().unwrap();
        assert_eq!(faults[0].field, "query");
    }
}
