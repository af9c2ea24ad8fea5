//! What is written down about settings: the tables of `docs/configuration.md`, and `.env.example`.

use std::fmt::Write;
use std::path::Path;

use latchkey_runtime::config::Preset;
use latchkey_runtime::{Setting, Table};

use super::programs::ALL;
use super::repository;

const PAGE: &str = "docs/configuration.md";
const BEGIN: &str =
    "<!-- From here on written by `make configuration`, from the tables in the code -->\n";
/// Says that the page is to be written, not compared.
const WRITE: &str = "WRITE_CONFIGURATION";

/// A declaration, and who reads it.
struct Row {
    setting: &'static dyn Setting,
    readers: Vec<&'static str>,
}

/// Each part's declarations: two of one name are two rows where they differ.
fn parts() -> Vec<(&'static str, Vec<Row>)> {
    let mut parts: Vec<(&str, Vec<Row>)> = Vec::new();
    for program in ALL {
        for Table { title, settings } in (program.tables)() {
            let place = parts.iter().position(|(known, _)| *known == title).unwrap_or_else(|| {
                parts.push((title, Vec::new()));
                parts.len() - 1
            });
            for setting in settings {
                let same = |row: &&mut Row| {
                    let known = row.setting;
                    (known.name(), known.default(), known.accepted())
                        == (setting.name(), setting.default(), setting.accepted())
                };
                let rows = &mut parts[place].1;
                if let Some(row) = rows.iter_mut().find(same) {
                    row.readers.push(program.name);
                } else {
                    let of_name = |row: &Row| row.setting.name() == setting.name();
                    let after = rows.iter().rposition(of_name).map_or(rows.len(), |at| at + 1);
                    rows.insert(after, Row { setting, readers: vec![program.name] });
                }
            }
        }
    }
    parts
}

fn line(Row { setting, readers }: &Row) -> String {
    let name = setting.name();
    let flag = match (setting.flag(), setting.file_name()) {
        (Some(flag), _) => format!("`--{flag} {}`", setting.placeholder().replace('|', "\\|")),
        (None, file) => format!("none: secret; `{}`", file.unwrap_or_default()),
    };
    let default = match setting.default() {
        Preset::Value(text) => format!("`{text}`"),
        Preset::Described(text) => text.to_owned(),
    };
    let short = readers.iter().map(|name| name.strip_prefix("latchkey-").unwrap_or("standalone"));
    let readers = match readers.len() {
        length if length == ALL.len() => "all".to_owned(),
        _ => short.collect::<Vec<_>>().join(", "),
    };
    let (help, accepted) = (setting.help(), setting.accepted());
    format!("| `{name}` | {flag} | {default} | {accepted} | {help} | {readers} |")
}

fn tables() -> String {
    let mut text = String::new();
    for (title, rows) in parts() {
        let head = "| variable | flag | default | accepted | what it is | read by |\n|---|---|---|---|---|---|";
        let rows: Vec<_> = rows.iter().map(line).collect();
        writeln!(text, "\n## {title}\n\n{head}\n{}", rows.join("\n")).unwrap();
    }
    text
}

#[test]
fn the_page_says_what_the_tables_say() {
    let page = repository(PAGE);
    let (prose, written) = page.split_once(BEGIN).expect("where the tables begin");
    if std::env::var_os(WRITE).is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
        std::fs::write(path, format!("{prose}{BEGIN}{}", tables())).unwrap();
    } else {
        assert_eq!(written, tables(), "run `make configuration`");
    }
}

#[test]
fn every_default_is_a_value_and_the_example_has_it() {
    let example = repository(".env.example");
    for Row { setting, readers } in parts().into_iter().flat_map(|(_, rows)| rows) {
        let lines = || example.lines().filter_map(|line| line.strip_prefix('#'));
        let assigned = format!("{}=", setting.name());
        assert!(lines().any(|line| line.starts_with(&assigned)), "no {assigned} in .env.example");
        if let Preset::Value(default) = setting.default() {
            setting.check(default).unwrap();
            let is_shown = lines().any(|line| line == format!("{assigned}{default}"));
            // The example is the standalone's.
            assert!(is_shown || !readers.contains(&"latchkey"), "{assigned}{default}");
        }
    }
}
