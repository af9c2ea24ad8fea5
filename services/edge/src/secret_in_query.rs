//! Credentials that were put into a URL, where proxies and browsers write them down.

use latchkey_contract::ApiKey;

/// What a refresh token and an API key of the default prefix, however much is left of it, and names under which one is wrongly sent look
/// like in a query.
const SECRETS_IN_QUERY: [&str; 8] =
    ["sk_", "=rt_", "api_key=", "api-key=", "apikey=", "access_token=", "refresh_token=", "token="];

/// Whether a query holds a credential, or what looks like one.
pub(crate) fn is_held_by(query: &str) -> bool {
    if ApiKey::is_within(query) {
        return true;
    }
    let query = query.to_ascii_lowercase();
    SECRETS_IN_QUERY.iter().any(|sign| query.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_query_are_noticed() {
        for query in [
            "x=sk_abc",
            "x=rt_abc",
            "REFRESH_TOKEN=1",
            "API_KEY=1",
            "access_token=x",
            "a=b&token=c",
        ] {
            assert!(is_held_by(query), "{query}");
        }
        let key = "acme_test_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0DofJ8";
        for query in [key.to_owned(), format!("limit=10&x={key}&after=3")] {
            assert!(is_held_by(&query), "{query}");
        }
        assert!(!is_held_by(&key.replace("0DofJ8", "0DofJ9")));
        assert!(!is_held_by("limit=10&after=3&start_at=7"));
    }
}
