//! What a person can see of a text: for names that are shown to others, and for saying what is wrong with
//! a name that was pasted with something invisible in it.

/// Joins what stands before and after it, as in many emoji and in Indic scripts.
const JOINER: char = '\u{200d}';
/// Keeps what stands before and after it apart, as Persian and Indic scripts need it.
const NON_JOINER: char = '\u{200c}';
/// They choose how the character before them is drawn, such as in colour.
const VARIATION_SELECTORS: [(char, char); 2] =
    [('\u{fe00}', '\u{fe0f}'), ('\u{e0100}', '\u{e01ef}')];
/// What is drawn as nothing: Unicode's `Default_Ignorable_Code_Point` (among it all bidirectional
/// controls, zero-width characters, the soft hyphen and the tags), then separators of lines, the blank
/// pattern of Braille, what stands for an object or a fault, and private use.
const INVISIBLE: [(char, char); 23] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fff8}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
    ('\u{2028}', '\u{2029}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{fff9}', '\u{fffb}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{f0000}', '\u{10ffff}'),
];

/// Whether nothing is drawn for this character, or what is drawn moves others: a control character, a
/// bidirectional control, a zero-width or otherwise ignorable character, one that is no character.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    c.is_control() || is_within(&INVISIBLE, c) || u32::from(c) & 0xfffe == 0xfffe
}

/// Whether a text holds nothing invisible but what visible characters need: a joiner or non-joiner between
/// two of them, variation selectors after one.
///
/// So emoji can be written and every script, and nothing hides in a text or turns its order round.
#[must_use]
pub fn is_shown_whole(text: &str) -> bool {
    let mut before = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let follows = before.is_some_and(|before| is_drawn(before) || is_selector(before));
        let allowed = match c {
            JOINER | NON_JOINER => follows && rest.peek().is_some_and(|&next| is_drawn(next)),
            c if is_selector(c) => before.is_some_and(is_drawn),
            c => !is_invisible(c),
        };
        if !allowed {
            return false;
        }
        before = Some(c);
    }
    true
}

fn is_drawn(c: char) -> bool {
    !is_invisible(c) && !c.is_whitespace()
}

fn is_selector(c: char) -> bool {
    is_within(&VARIATION_SELECTORS, c)
}

fn is_within(ranges: &[(char, char)], c: char) -> bool {
    ranges.iter().any(|&(first, last)| (first..=last).contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_and_emoji_are_shown_whole() {
        for text in [
            "deploy key",
            "Schlüssel für Jürgen",
            "उत्पादन कुंजी",
            "क्\u{200d}ष",
            "می\u{200c}خواهم",
            "مفتاح الخادم",
            "生产\u{3000}密钥",
            "👩\u{200d}💻 laptop",
            "❤\u{fe0f}\u{200d}🔥",
            "葛\u{e0100}城",
            "🏳\u{fe0f}\u{200d}🌈",
        ] {
            assert!(is_shown_whole(text), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_seen_is_found_wherever_it_stands() {
        for point in [
            '\0',
            '\n',
            '\u{7f}',
            '\u{85}',
            '\u{ad}',
            '\u{34f}',
            '\u{61c}',
            '\u{115f}',
            '\u{180e}',
            '\u{200b}',
            '\u{200e}',
            '\u{200f}',
            '\u{2028}',
            '\u{202a}',
            '\u{202e}',
            '\u{2060}',
            '\u{2066}',
            '\u{2069}',
            '\u{2800}',
            '\u{3164}',
            '\u{e000}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fffe}',
            '\u{1d173}',
            '\u{e0001}',
            '\u{e0041}',
            '\u{e007f}',
            '\u{10ffff}',
        ] {
            for text in
                [format!("{point}"), format!("{point}a"), format!("a{point}b"), format!("a{point}")]
            {
                assert!(!is_shown_whole(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn what_joins_needs_something_to_join() {
        for text in [
            "\u{200d}",
            "a\u{200d}",
            "\u{200d}a",
            "a\u{200d}\u{200d}b",
            "a \u{200d}b",
            "a\u{200c} b",
            "\u{fe0f}",
            " \u{fe0f}",
            "a\u{fe0f}\u{fe0f}",
            "a\u{200d}\u{fe0f}b",
        ] {
            assert!(!is_shown_whole(text), "{text:?}");
        }
    }
}
