//! What logs, spans and metrics say in place of a path, which may hold anything.

use std::collections::HashMap;
use std::sync::Arc;

/// The patterns of paths: `/keys/{key_id}` and the like, and a last one for every other path.
#[derive(Clone)]
pub struct Patterns {
    all: Arc<[&'static str]>,
    literal: Arc<HashMap<&'static str, usize>>,
}

/// What a path is called that belongs to no route.
const UNMATCHED: &str = "unmatched";

impl Patterns {
    /// Each of these once, and the last one.
    pub(crate) fn new(patterns: impl Iterator<Item = String>) -> Self {
        // Made once, and needed for as long as the process runs.
        let lasting = |pattern: String| -> &'static str { Box::leak(pattern.into_boxed_str()) };
        let mut all: Vec<&'static str> = Vec::new();
        for pattern in patterns {
            if !all.contains(&pattern.as_str()) {
                all.push(lasting(pattern));
            }
        }
        all.push(UNMATCHED);
        let literal = all.iter().enumerate().filter(|(_, pattern)| !pattern.contains('{'));
        let literal = literal.map(|(place, pattern)| (*pattern, place)).collect();
        Self { all: all.into(), literal: Arc::new(literal) }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[&'static str] {
        &self.all
    }

    /// The place among [`all`](Self::all) of the pattern that `path` belongs to.
    #[must_use]
    pub fn place_of(&self, path: &str) -> usize {
        let fits = |pattern: &str| {
            let mut segments = path.split('/');
            pattern.contains('{')
                && pattern.split('/').all(|part| {
                    segments.next().is_some_and(|it| part.starts_with('{') || part == it)
                })
                && segments.next().is_none()
        };
        // A literal pattern comes before one with a placeholder.
        let literal = self.literal.get(path).copied();
        let place = literal.or_else(|| self.all.iter().position(|pattern| fits(pattern)));
        place.unwrap_or(self.all.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_pattern_and_nothing_else_of_it_is() {
        let patterns = ["/", "/keys", "/keys/create", "/keys/{id}", "/docs/{file}"];
        let patterns = Patterns::new(patterns.map(str::to_owned).into_iter());
        let of = |path| patterns.all()[patterns.place_of(path)];
        for (path, pattern) in [
            ("/", "/"),
            ("/keys", "/keys"),
            ("/keys/create", "/keys/create"),
            ("/keys/7", "/keys/{id}"),
            ("/keys/sk_secret", "/keys/{id}"),
            ("/keys/7/x", "unmatched"),
            ("/keys/{id}", "/keys/{id}"),
            ("/secret", "unmatched"),
            ("/unmatched", "unmatched"),
            ("unmatched", "unmatched"),
            ("", "unmatched"),
        ] {
            assert_eq!(of(path), pattern, "{path}");
        }
    }
}
