//! A `.env` file. Its values are taken as they stand, and where programs disagree about what stands there the value is
//! a fault, which stops whoever reads that variable. What nobody reads is no fault, whatever it looks like.
//!
//! | in the file | is |
//! |---|---|
//! | `NAME=value`, `export NAME=value` | the value, without the blanks around it; `$`, `\` and quotes within it stand for themselves |
//! | `NAME='value'`, `NAME="value"` | what is between the quotes; a comment may follow |
//! | `NAME=` | not set, or nothing, where that is a value |
//! | `# …`, an empty line, `NAME` | nothing |
//! | `NAME=value # …`, `NAME=#…` | a fault: for some a comment, for others a part of the value |
//! | `NAME="a\n"` | a fault: for some a line's end, for others two characters |
//! | a quote that is not closed on its line, or that something follows | a fault |
//! | `NAME: value`, a control character, no UTF-8 | a fault |
//! | `set NAME=value`, or something invisible beside the name | a fault |
//! | a name twice, with two values | a fault |
//! | a name on a line between quotes that an earlier line opens and a later one closes | a fault: for some it is a part of that value |
//!
//! A BOM, and a carriage return at a line's end, are nothing.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a file at most.
pub(super) const MAX_FILE: u64 = 1_024 * 1_024;

const COMMENT: &str = "a # at its beginning or after a blank begins a comment in other programs: put the value in quotes, \
    or the comment on a line of its own";
const ESCAPE: &str = "a backslash in double quotes stands for itself in some programs and not in others: use single quotes, \
    in which it stands for itself";

const DISGUISED: &str =
    "beside the name stands something that is not export, a part of which may be invisible";
const WITHIN: &str = "the line stands between quotes that an earlier line opens: for some programs it is a part of that \
    value";

/// What is said for each name: a value, or why it cannot be taken, which repeats no part of it.
pub(super) type Values = BTreeMap<String, Result<String, String>>;

/// Reads the file, which need not be there.
///
/// # Errors
/// What the system said, or why nothing in it can be read.
pub(super) fn read(path: &Path) -> io::Result<Values> {
    // A folder of that name belongs to another program.
    if !path.exists() || path.is_dir() {
        return Ok(Values::new());
    }
    let bytes = bounded(path)?;
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err(io::Error::other("it is UTF-16, and UTF-8 is accepted"));
    }
    Ok(values(&bytes))
}

/// The content of a file of at most [`MAX_FILE`] bytes.
pub(super) fn bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MAX_FILE => Ok(bytes),
        _ => Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes"))),
    }
}

fn values(file: &[u8]) -> Values {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    let lines: Vec<_> = file.split(|byte| *byte == b'\n').collect();
    let mut values = Values::new();
    let mut closing = 0;
    for (index, line) in lines.iter().enumerate() {
        let within = index > 0 && index <= closing;
        if !within {
            closing = closing_line(&lines, index).unwrap_or(0);
        }
        for (name, value) in declaration(line).into_iter().chain(disguised(line)) {
            let at = format!(".env, line {}", index + 1);
            let value = if within { Err(WITHIN) } else { value };
            note(&mut values, name, value.map_err(|fault| format!("{at}: {fault}")), &at);
        }
    }
    values
}

/// Adds what a line says of a name. The first fault is the one that is told.
fn note(values: &mut Values, name: String, value: Result<String, String>, at: &str) {
    match values.entry(name) {
        Entry::Vacant(free) => drop(free.insert(value)),
        Entry::Occupied(mut earlier) => {
            if earlier.get().is_ok() && *earlier.get() != value {
                let fault = format!("{at}: set a second time, to something else");
                *earlier.get_mut() = Err(value.err().unwrap_or(fault));
            }
        }
    }
}

/// The line that closes the quote which this line opens and does not close, where there is one.
fn closing_line(lines: &[&[u8]], index: usize) -> Option<usize> {
    let line = lines.get(index)?;
    let text = line.iter().skip_while(|byte| **byte != b'=').skip(1);
    let mut text = text.skip_while(|byte| byte.is_ascii_whitespace());
    let quote = *text.next().filter(|byte| matches!(byte, b'"' | b'\''))?;
    if declaration(line).is_none() || text.any(|byte| *byte == quote) {
        return None;
    }
    let is_comment = |line: &[u8]| line.trim_ascii_start().starts_with(b"#");
    let later = lines.iter().enumerate().skip(index + 1);
    let mut closing = later.filter(|(_, line)| line.contains(&quote) && !is_comment(line));
    closing.next().map(|(index, _)| index)
}

/// The name before the first `=` of a line that does not begin with it, and why it is not taken: so nobody is left to
/// believe that it is set.
fn disguised(line: &[u8]) -> Option<(String, Result<String, &'static str>)> {
    let line = line.trim_ascii();
    let end = line.iter().position(|byte| *byte == b'=').filter(|_| !line.starts_with(b"#"))?;
    let before = line.get(..end)?;
    let is_of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end = before.iter().rposition(u8::is_ascii_graphic)? + 1;
    let (before, behind) = before.split_at_checked(end)?;
    let begin = before.iter().rposition(|byte| !is_of_name(byte)).map_or(0, |last| last + 1);
    let (front, name) = before.split_at_checked(begin)?;
    // `CACHE.DIR=…` is another name.
    let is_another = front.last().is_some_and(u8::is_ascii_graphic);
    let is_plain = matches!(front.trim_ascii(), b"" | b"export") && behind.trim_ascii().is_empty();
    let name = str::from_utf8(name).ok().filter(|name| !name.is_empty() && !is_another)?;
    (!is_plain).then(|| (name.to_owned(), Err(DISGUISED)))
}

/// The name that a line is about, and its value; `None` where it is about none.
fn declaration(line: &[u8]) -> Option<(String, Result<String, &'static str>)> {
    let line = line.trim_ascii();
    let line = match line.strip_prefix(b"export") {
        Some(rest) if rest.first().is_some_and(u8::is_ascii_whitespace) => rest.trim_ascii(),
        _ => line,
    };
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let end = line.iter().position(|byte| !of_name(byte))?;
    let (name, rest) = line.split_at_checked(end)?;
    let name = str::from_utf8(name).ok().filter(|name| !name.is_empty())?;
    let value = match rest.trim_ascii().split_first()? {
        (b'=', text) => value(text.trim_ascii()),
        // `CACHE.DIR=…` is another name.
        _ if !matches!(rest.first(), Some(b':' | b' ' | b'\t')) => return None,
        _ => Err("no = follows the name"),
    };
    Some((name.to_owned(), value))
}

fn value(text: &[u8]) -> Result<String, &'static str> {
    let text = str::from_utf8(text).map_err(|_bytes| "the value is not UTF-8")?;
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err("the value holds a control character");
    }
    let is_quote = |c: &char| matches!(c, '"' | '\'');
    match text.chars().next().filter(is_quote) {
        Some(quote) => quoted(text, quote),
        None if text.starts_with('#') || text.contains(" #") || text.contains("\t#") => {
            Err(COMMENT)
        }
        None => Ok(text.to_owned()),
    }
}

/// What is between the quotes of a text that begins with one.
fn quoted(text: &str, quote: char) -> Result<String, &'static str> {
    let inner = text.strip_prefix(quote).and_then(|rest| rest.split_once(quote));
    let (inner, after) = inner.ok_or("a quote is not closed on its line")?;
    let is_comment = after.starts_with([' ', '\t']) && after.trim_start().starts_with('#');
    if quote == '"' && inner.contains('\\') {
        Err(ESCAPE)
    } else if after.is_empty() || is_comment {
        Ok(inner.to_owned())
    } else {
        Err("something follows the closing quote")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(file: &[u8], name: &str) -> Option<Result<String, String>> {
        values(file).remove(name)
    }

    #[test]
    fn a_value_is_taken_as_it_stands() {
        let seed = r"g#^%@69($dsf45mkfds${HOME}`id`\n!&*|;<>~";
        for (line, expected) in [
            ("A=1", "1"),
            ("A=", ""),
            ("  A  =  1 \t", "1"),
            ("export A=1", "1"),
            ("export\tA=1", "1"),
            ("A=b c", "b c"),
            ("A=b=c==", "b=c=="),
            ("A=b#c", "b#c"),
            ("A=b'c\"d", "b'c\"d"),
            ("A=$HOME", "$HOME"),
            ("A=$$", "$$"),
            ("A=\u{fc}", "\u{fc}"),
            (&format!("A={seed}"), seed),
            (&format!("A='{seed}'"), seed),
            (r"A='a\nb'", r"a\nb"),
            ("A=''", ""),
            (r#"A="$b c""#, "$b c"),
            ("A=' b '", " b "),
            ("A='b # c'", "b # c"),
            ("A=\"b'c\"  # comment", "b'c"),
            ("A='b' # it's", "b"),
        ] {
            assert_eq!(of(line.as_bytes(), "A"), Some(Ok(expected.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_programs_disagree_about_is_a_fault_that_says_its_line_and_no_value() {
        for (line, fault) in [
            ("A=hunter2 # comment", "a # at its beginning"),
            ("A=hunter2\t#", "a # at its beginning"),
            ("A=#hunter2", "a # at its beginning"),
            ("A= # hunter2", "a # at its beginning"),
            ("A='hunter2", "a quote is not closed"),
            ("A=\"hunter2", "a quote is not closed"),
            ("A='hunter2' x", "something follows"),
            ("A='hunter2'#x", "something follows"),
            (r"A='hunter2'\''s'", "something follows"),
            (r#"A="hunter2\n""#, "a backslash in double quotes"),
            (r#"A="hunter2\"x""#, "a backslash in double quotes"),
            ("A: hunter2", "no = follows"),
            ("A hunter2", "no = follows"),
            ("export A hunter2", "no = follows"),
            ("A=hunter2\0", "the value holds a control"),
            ("A=hunter2\rB=1", "the value holds a control"),
            ("A=hunter2\nA=hunter3", "set a second time"),
        ] {
            let file = format!("# first\n\n{line}\n");
            let said = of(file.as_bytes(), "A").unwrap().unwrap_err();
            let number = if line.contains('\n') { 4 } else { 3 };
            assert!(said.starts_with(&format!(".env, line {number}: {fault}")), "{line:?}: {said}");
            assert!(!said.contains("hunter"), "{line:?}: {said}");
        }
        let bytes = of(b"A=\xff", "A").unwrap().unwrap_err();
        assert_eq!(bytes, ".env, line 1: the value is not UTF-8");
    }

    #[test]
    fn a_bom_carriage_returns_and_a_name_with_one_value_twice_are_nothing() {
        let file = b"\xef\xbb\xbfA=1\r\nB='2'\r\nA=1\r\n";
        assert_eq!(of(file, "A"), Some(Ok("1".to_owned())));
        assert_eq!(of(file, "B"), Some(Ok("2".to_owned())));
        // The first fault is the one that is told.
        let twice = of(b"A='1\nA=1", "A").unwrap().unwrap_err();
        assert!(twice.contains("line 1"), "{twice}");
    }

    #[test]
    fn a_name_with_something_beside_it_is_not_believed_to_be_set() {
        for line in [
            "set A=1",
            "declare -x A=1",
            "\u{a0}A=1",
            "\u{200b}A=1",
            "export \u{200b}A=1",
            "A\u{a0}=1",
            "A\u{200b} =1",
            "if [ A=1 ]",
        ] {
            let said = of(line.as_bytes(), "A").unwrap_or_else(|| panic!("{line:?}")).unwrap_err();
            assert!(said.contains("beside the name"), "{line:?}: {said}");
        }
        for line in ["# set A=1", "x.A=1", "x-A=1", "B='x A=1'", "B=\"set A=1\""] {
            assert_eq!(of(line.as_bytes(), "A"), None, "{line}");
        }
    }

    #[test]
    fn what_stands_in_anothers_value_of_several_lines_is_not_ours() {
        for quote in ["'", "\""] {
            let file = format!("PEM={quote}-----BEGIN\nA=1\nB=2{quote}\nC=3\n");
            for name in ["A", "B"] {
                let said = of(file.as_bytes(), name).unwrap().unwrap_err();
                assert!(said.contains("between quotes"), "{said}");
            }
            assert_eq!(of(file.as_bytes(), "C"), Some(Ok("3".to_owned())));
            // One that is never closed is a value of one line.
            let file = format!("SAYING={quote}tis\nA=1\n# don't \"\n");
            assert_eq!(of(file.as_bytes(), "A"), Some(Ok("1".to_owned())));
        }
    }

    #[test]
    fn a_line_that_is_about_none_of_our_variables_is_no_fault() {
        let file = b"CACHE.DIR=x\nCACHE-DIR=x\n[section]\nCACHE\nexport CACHE\n=x\n  - x\n\xff\xfe=1\n{\"A\": 1}\n\
            exported=1\nPEM='-----BEGIN\nabc/def+ghi=\n-----END'\nif true; then\nA=1";
        let values = values(file);
        assert!(!values.contains_key("CACHE"), "{values:?}");
        assert_eq!(values["A"], Ok("1".to_owned()));
        assert_eq!(values["exported"], Ok("1".to_owned()));
    }
}
