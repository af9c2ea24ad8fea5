//! What stands in the header `Authorization`.

/// The token behind `Bearer ` in any case (RFC 9110 §11.1); empty for another scheme.
pub(crate) fn bearer(value: &str) -> &str {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case_and_no_other_is_taken() {
        assert_eq!(bearer("Bearer a.b.c"), "a.b.c");
        assert_eq!(bearer("bEARER  a.b.c "), "a.b.c");
        for other in ["Basic a.b.c", "a.b.c", "Bearer", "", "Bearera.b.c"] {
            assert_eq!(bearer(other), "", "{other}");
        }
    }
}
