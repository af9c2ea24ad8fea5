//! A slash at the end of a path, which changes nothing of what the path names.

use axum::http::{Request, Uri};

/// In a request's extensions: its path was written with a slash at its end.
#[derive(Clone, Copy, Debug)]
pub struct Slashed;

/// Takes the slash off the end of a path that is more than a slash: `/keys/` is `/keys`. Two of them are
/// another path, which nothing is at. Whether there was one.
pub fn without_slash<B>(request: &mut Request<B>) -> bool {
    let Some(shorter) = shorter(request.uri().path()) else { return false };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = format!("{shorter}{query}").parse().ok();
    let Ok(uri) = Uri::from_parts(parts) else { return false };
    *request.uri_mut() = uri;
    request.extensions_mut().insert(Slashed);
    true
}

/// Whether a path has a slash that [`without_slash`] takes off: until then it is not the path that its route is found by.
pub(crate) fn has_slash(path: &str) -> bool {
    shorter(path).is_some()
}

fn shorter(path: &str) -> Option<&str> {
    path.strip_suffix('/').filter(|it| !it.is_empty() && !it.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slash_at_the_end_is_taken_off() {
        for (written, routed) in [
            ("/keys/", "/keys"),
            ("/keys/?limit=1&after=/", "/keys?limit=1&after=/"),
            ("/keys/?", "/keys?"),
            ("http://a.example/keys/7/", "http://a.example/keys/7"),
            ("/", "/"),
            ("/?x=/", "/?x=/"),
            ("//", "//"),
            ("/keys//", "/keys//"),
            ("/keys", "/keys"),
            ("/keys?x=/", "/keys?x=/"),
            ("*", "*"),
        ] {
            let mut request = Request::new(());
            *request.uri_mut() = written.parse().unwrap();
            assert_eq!(without_slash(&mut request), written != routed);
            assert_eq!(request.uri(), routed, "{written}");
            assert_eq!(request.extensions().get::<Slashed>().is_some(), written != routed);
        }
    }
}
