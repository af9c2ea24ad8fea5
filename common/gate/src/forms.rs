//! From a text to whom it is a matter of: its form says which authority is asked, what it is asked, and by which
//! name the credential is remembered and revoked. What else an answer depends on is computed from the answer.
//!
//! | a text that begins | and is | is a | of | which is asked |
//! |---|---|---|---|---|
//! | like a key: `sk_`, `acme_` | a key of any prefix and environment, with a matching checksum | key | keys | its hash |
//! | otherwise | three parts of base64url between dots, at most 4,096 bytes | token | identity | the text |
//!
//! Both are named by the hash of the text.

use latchkey_contract::authority::Authority;
use latchkey_contract::identity::{IdentityAuthority, MAX_TOKEN, VerifyTokens};
use latchkey_contract::keys::{KeysAuthority, VerifyKeys};
use latchkey_contract::wire::MAX_BATCH;
use latchkey_contract::{ApiKey, CredentialHash, Secret};

/// Bytes of the tokens in one question at most; a message holds 64 KiB.
const MAX_TOKEN_BYTES: usize = 48 * 1_024;

/// A form of credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An API key.
    Key,
    /// An access token.
    Token,
}

/// A text that is shown as a credential of one form, whether or not it has that form.
#[derive(Clone, Copy)]
pub struct CredentialText<'a> {
    /// Which it is to be.
    pub form: Form,
    /// The text.
    pub text: &'a str,
}

/// An authority, as far as forms go: it has the last word on one of them.
pub(crate) trait OfForm: Authority {
    /// What metrics call its credentials.
    const KIND: &'static str;
    /// The weight of the questions in one message at most.
    const MAX_WEIGHT: usize;

    /// What it is asked about a credential.
    fn question(text: &str, name: CredentialHash) -> Self::Question;

    /// What a question counts for.
    fn weight(question: &Self::Question) -> usize;

    /// The questions of a message, to be asked anew.
    fn questions(asked: Self::Verify) -> Vec<Self::Question>;
}

impl Form {
    /// Which a text is to be. A token begins with the base64url of a JSON object, so it does not begin like a key.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if ApiKey::is_begun_by(text) { Self::Key } else { Self::Token }
    }
}

impl<'a> CredentialText<'a> {
    /// A text that is to be what it looks like.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        Self { form: Form::of(text), text }
    }

    /// What the credential is called where it is remembered. Of a token the form is not looked at: nothing
    /// malformed is remembered.
    pub(crate) fn remembered_name(self) -> Option<CredentialHash> {
        match self.form {
            Form::Key => self.name(),
            Form::Token => (self.text.len() <= MAX_TOKEN).then(|| CredentialHash::of(self.text)),
        }
    }

    /// What the credential is called. `None`: the text has not the form that it is to have, so nobody need be
    /// asked.
    pub(crate) fn name(self) -> Option<CredentialHash> {
        match self.form {
            Form::Key => ApiKey::hash_of(self.text).ok(),
            Form::Token => is_compact_jws(self.text).then(|| CredentialHash::of(self.text)),
        }
    }

    /// Whether a text that has a [`remembered_name`](Self::remembered_name) has a [`name`](Self::name).
    pub(crate) fn has_form(self) -> bool {
        match self.form {
            // Its checksum was looked at.
            Form::Key => true,
            Form::Token => is_compact_jws(self.text),
        }
    }
}

impl OfForm for KeysAuthority {
    const KIND: &'static str = "key";
    const MAX_WEIGHT: usize = MAX_BATCH;

    fn question(_: &str, name: CredentialHash) -> CredentialHash {
        name
    }

    fn weight(_: &CredentialHash) -> usize {
        1
    }

    fn questions(asked: VerifyKeys) -> Vec<CredentialHash> {
        asked.hashes
    }
}

impl OfForm for IdentityAuthority {
    const KIND: &'static str = "token";
    const MAX_WEIGHT: usize = MAX_TOKEN_BYTES;

    fn question(text: &str, _: CredentialHash) -> Secret {
        Secret::new(text.to_owned())
    }

    /// So that neither the bytes nor the number of tokens in a message pass their bounds.
    fn weight(token: &Secret) -> usize {
        token.expose().len().max(MAX_TOKEN_BYTES.div_ceil(MAX_BATCH))
    }

    fn questions(asked: VerifyTokens) -> Vec<Secret> {
        asked.tokens
    }
}

/// Three parts of base64url without padding (RFC 7515 §7.1), and not too long to look at.
fn is_compact_jws(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    text.len() <= MAX_TOKEN && text.split('.').count() == 3 && text.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use latchkey_contract::credential::{KeyEnvironment, KeyPrefix};
    use latchkey_contract::wire::MAX_MESSAGE;

    use super::*;

    #[test]
    fn what_is_no_token_is_seen_without_asking() {
        let token = |text| CredentialText { form: Form::Token, text }.name();
        assert_eq!(token("eyJh.eyJz.c2ln"), Some(CredentialHash::of("eyJh.eyJz.c2ln")));
        let long = format!("a.b.{}", "c".repeat(MAX_TOKEN));
        for text in ["", "a.b", "a.b.c.d", "a..c", "a.b.", "a.b=.c", "a.b.c ", "a.b.ç", &long] {
            assert_eq!(token(text), None, "{text}");
            let credential = CredentialText { form: Form::Token, text };
            assert!(!credential.has_form(), "{text}");
        }
    }

    #[test]
    fn a_credential_in_the_place_of_another_form_is_malformed() {
        let key = ApiKey::generate(&KeyPrefix::default(), None, |bytes| bytes.fill(10));
        let text = key.expose();
        assert_eq!(CredentialText::of(text).name(), Some(key.hash()));
        assert_eq!(CredentialText { form: Form::Token, text }.name(), None);
        assert_eq!(Form::of("eyJh.eyJz.c2ln"), Form::Token);
        assert_eq!(CredentialText { form: Form::Key, text: "eyJh.eyJz.c2ln" }.name(), None);
        assert_eq!(CredentialText::of("sk_.b.c").name(), None);
    }

    #[test]
    fn a_key_of_any_prefix_and_environment_is_one() {
        let (prefix, other) = (KeyPrefix::parse("acme"), KeyEnvironment::parse("test"));
        let (prefix, other) = (prefix.unwrap(), other.unwrap());
        for infix in [None, Some(&other)] {
            let key = ApiKey::generate(&prefix, infix, |bytes| bytes.fill(10));
            let text = CredentialText::of(key.expose());
            assert_eq!((text.form, text.name()), (Form::Key, Some(key.hash())));
            assert_eq!(text.remembered_name(), Some(key.hash()));
            // Another prefix is another key: nobody made it, and whoever is asked finds nothing.
            let forged = key.expose().replace("acme", "evil");
            assert_ne!(CredentialText::of(&forged).name(), Some(key.hash()));
            assert!(CredentialText::of(&forged).has_form());
        }
    }

    #[test]
    fn a_message_of_tokens_stays_below_both_bounds() {
        let weight = |text: String| IdentityAuthority::weight(&Secret::new(text));
        let shortest = weight("a.b.c".to_owned());
        assert!(IdentityAuthority::MAX_WEIGHT / shortest <= MAX_BATCH);
        // And not much below: a dozen of the longest, or nearly a hundred.
        assert_eq!(weight("a".repeat(MAX_TOKEN)), MAX_TOKEN);
        assert_eq!(IdentityAuthority::MAX_WEIGHT / MAX_TOKEN, 12);
        assert_eq!(IdentityAuthority::MAX_WEIGHT / shortest, 99);
        const { assert!(IdentityAuthority::MAX_WEIGHT < MAX_MESSAGE) };
    }

    #[test]
    fn a_key_is_asked_about_by_its_name_and_a_token_by_its_text() {
        let name = CredentialHash([7; 32]);
        assert_eq!(KeysAuthority::question("sk_", name), name);
        assert_eq!(KeysAuthority::weight(&name), 1);
        assert_eq!(IdentityAuthority::question("a.b.c", name).expose(), "a.b.c");
    }

    #[test]
    fn the_longest_token_has_a_name_and_a_longer_one_has_none() {
        let longest = format!("a-1.b_2.{}", "C".repeat(MAX_TOKEN - 8));
        let named = Some(CredentialHash::of(&longest));
        let token = CredentialText { form: Form::Token, text: &longest };
        assert_eq!((token.name(), token.remembered_name()), (named, named));
        assert!(token.has_form());
        let longer = format!("{longest}d");
        let token = CredentialText { form: Form::Token, text: &longer };
        assert_eq!((token.name(), token.remembered_name()), (None, None));
        let key = ApiKey::generate(&KeyPrefix::default(), None, |bytes| bytes.fill(10));
        let text = CredentialText::of(key.expose());
        assert_eq!((text.form, text.remembered_name()), (Form::Key, Some(key.hash())));
        assert!(text.has_form());
        assert_eq!(CredentialText::of("sk_").remembered_name(), None);
    }
}
