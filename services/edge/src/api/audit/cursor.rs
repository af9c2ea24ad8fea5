//! Where a page of both logs begins: an event of each, and the order in which they are read. Clients pass it on as it is.

use std::fmt;

/// In which order events are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// The newest first.
    #[default]
    Falling,
    /// The oldest first.
    Rising,
}

/// Behind which event of each log a page begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) order: Order,
    pub(super) identity: i64,
    pub(super) keys: i64,
}

impl Order {
    pub(super) fn is_oldest_first(self) -> bool {
        self == Self::Rising
    }

    const fn letter(self) -> char {
        match self {
            Self::Falling => 'd',
            Self::Rising => 'a',
        }
    }
}

impl Cursor {
    /// What is written so, in this order.
    pub(super) fn parse(text: &str, order: Order) -> Option<Self> {
        let (identity, keys) = text.strip_prefix(order.letter())?.split_once('-')?;
        let number = |digits| i64::from_str_radix(digits, 16).ok().filter(|number| *number >= 0);
        let cursor = Self { order, identity: number(identity)?, keys: number(keys)? };
        // One spelling of each.
        (cursor.to_string() == text).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { order, identity, keys } = self;
        write!(f, "{}{identity:x}-{keys:x}", order.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_has_one_spelling_and_is_of_its_order() {
        for (identity, keys) in [(0, 0), (1, 300), (i64::MAX, i64::MAX)] {
            for order in [Order::Falling, Order::Rising] {
                let cursor = Cursor { order, identity, keys };
                assert_eq!(Cursor::parse(&cursor.to_string(), order), Some(cursor));
            }
            let rising = Cursor { order: Order::Rising, identity, keys }.to_string();
            assert_eq!(Cursor::parse(&rising, Order::Falling), None);
        }
        for bad in ["", "d", "d1", "d1-", "d-1", "1-1", "d1-G", "d01-1", "d1-A", "d+1-1", "d1-1-1"]
        {
            assert_eq!(Cursor::parse(bad, Order::Falling), None, "{bad}");
        }
        for bad in ["d-1-1", "d8000000000000000-1", "d1-ffffffffffffffff", " d1-1", "a1-1"] {
            assert_eq!(Cursor::parse(bad, Order::Falling), None, "{bad}");
        }
    }
}
