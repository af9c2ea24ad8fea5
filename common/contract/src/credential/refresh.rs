//! The format of refresh tokens: `rt_`, then what a key has behind its prefix. No key has that prefix, so neither is ever
//! taken for the other.

use super::{BODY_LENGTH, CredentialHash, is_body, text};
use crate::secret::Secret;

/// What a refresh token begins with.
const LEAD: &str = "rt_";

/// A well-formed refresh token in plain text. Only its holder and the request that made it ever have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RefreshToken(Secret);

/// A text that is no refresh token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a refresh token: `rt_` and 49 letters and digits with a matching checksum are accepted"
)]
pub struct MalformedRefreshToken;

impl RefreshToken {
    /// Makes a token from `fill`, a source of bytes that nobody can guess.
    pub fn generate(mut fill: impl FnMut(&mut [u8])) -> Self {
        Self(text(LEAD, &mut fill))
    }

    /// Recognises a token by its form alone.
    ///
    /// # Errors
    /// [`MalformedRefreshToken`] where beginning, length, alphabet or checksum are wrong.
    pub fn parse(token: &Secret) -> Result<Self, MalformedRefreshToken> {
        let body: Option<&[u8; BODY_LENGTH]> =
            token.expose().strip_prefix(LEAD).and_then(|body| body.as_bytes().try_into().ok());
        match body {
            Some(body) if is_body(body) => Ok(Self(token.clone())),
            _ => Err(MalformedRefreshToken),
        }
    }

    /// The token itself, for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose()
    }

    /// The token as a secret text.
    #[must_use]
    pub fn into_secret(self) -> Secret {
        self.0
    }

    /// What is stored of the token.
    #[must_use]
    pub fn hash(&self) -> CredentialHash {
        CredentialHash::of(self.expose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApiKey, KeyPrefix};

    fn made() -> RefreshToken {
        RefreshToken::generate(|bytes| bytes.fill(10))
    }

    #[test]
    fn a_refresh_token_is_recognised_by_its_form() {
        let token = made();
        assert_eq!((token.expose().len(), RefreshToken::parse(&token.0)), (52, Ok(token.clone())));
        let text = token.expose();
        let (headless, last) = (text.strip_prefix('r').unwrap(), text.chars().last().unwrap());
        let short = text.strip_suffix(last).unwrap();
        let wrong = ["", "rt_", headless, short, &text.replace("rt_", "sk_"), &format!("{text} ")];
        for wrong in wrong.map(str::to_owned) {
            assert_eq!(
                RefreshToken::parse(&Secret::new(wrong.clone())),
                Err(MalformedRefreshToken),
                "{wrong}"
            );
        }
        for (at, _) in text.char_indices() {
            let other: String =
                text.chars().enumerate().map(|(it, c)| if it == at { '9' } else { c }).collect();
            assert!(other == text || RefreshToken::parse(&Secret::new(other)).is_err(), "{at}");
        }
    }

    #[test]
    fn a_refresh_token_is_no_key_and_a_key_is_no_refresh_token() {
        assert!(ApiKey::parse(made().expose()).is_err());
        let key = ApiKey::generate(&KeyPrefix::default(), None, |bytes| bytes.fill(10));
        assert!(RefreshToken::parse(&Secret::new(key.expose().to_owned())).is_err());
        assert!(KeyPrefix::parse("rt").is_err());
        // But what looks for secrets in a log or a URL finds it.
        assert!(ApiKey::is_within(made().expose()));
    }
}
