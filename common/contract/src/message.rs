//! What travels on the bus, and that it has a form by the contract before: the trait of every message, and of what
//! holds others. What that form is stands in [`previous`](crate::previous).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What travels in bincode between our own services, by the present contract or the one before.
pub trait Message: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// Its form by the contract before.
    type Previous: Serialize + DeserializeOwned;

    /// What is said to a process of the release before.
    ///
    /// # Errors
    /// [`Untranslatable`] where that form cannot say it.
    fn into_previous(self) -> Result<Self::Previous, Untranslatable>;

    /// What a process of the release before means.
    ///
    /// # Errors
    /// [`Untranslatable`] where it no longer means anything.
    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable>;
}

/// Something that one of two neighbouring contracts cannot say. Names what, never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Untranslatable(pub &'static str);

/// Has messages be the same by both contracts.
#[macro_export]
macro_rules! same {
    ($($message:ty),* $(,)?) => {$(
        impl $crate::message::Message for $message {
            type Previous = Self;

            fn into_previous(self) -> Result<Self, $crate::message::Untranslatable> {
                Ok(self)
            }

            fn from_previous(previous: Self) -> Result<Self, $crate::message::Untranslatable> {
                Ok(previous)
            }
        }
    )*};
}

same!(());

impl<T: Message> Message for Option<T> {
    type Previous = Option<T::Previous>;

    fn into_previous(self) -> Result<Self::Previous, Untranslatable> {
        self.map(T::into_previous).transpose()
    }

    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable> {
        previous.map(T::from_previous).transpose()
    }
}

impl<T: Message> Message for Vec<T> {
    type Previous = Vec<T::Previous>;

    fn into_previous(self) -> Result<Self::Previous, Untranslatable> {
        self.into_iter().map(T::into_previous).collect()
    }

    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable> {
        previous.into_iter().map(T::from_previous).collect()
    }
}

/// Every reply: an answer or a refusal.
impl<T: Message, E: Message> Message for Result<T, E> {
    type Previous = Result<T::Previous, E::Previous>;

    fn into_previous(self) -> Result<Self::Previous, Untranslatable> {
        Ok(match self {
            Ok(answer) => Ok(answer.into_previous()?),
            Err(refusal) => Err(refusal.into_previous()?),
        })
    }

    fn from_previous(previous: Self::Previous) -> Result<Self, Untranslatable> {
        Ok(match previous {
            Ok(answer) => Ok(T::from_previous(answer)?),
            Err(refusal) => Err(E::from_previous(refusal)?),
        })
    }
}
