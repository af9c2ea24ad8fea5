//! How settings are shown in help texts.

use latchkey_runtime::config::Preset;
use latchkey_runtime::{Setting, Table};

/// Columns of a help text.
pub(super) const WIDTH: usize = 100;

/// Blanks before what is said of a flag.
const INDENT: usize = 10;

/// What stands below the flags.
pub(super) const NOTE: &str = "Each flag is a variable of the environment, too: --listen-addr is LISTEN_ADDR. \
    Secrets have no flag; --help shows them.";

const SOURCES: &str = "A flag beats the environment, which beats a .env file in the working directory. What is set to \
    nothing counts as not set, unless nothing is accepted. Flags stand before a command.";
const SECRETS: &str = "Secrets have no flag, because everybody on a machine sees the command lines of all processes: \
    set the variable, or the one with _FILE to the path of a file that holds the value.";

/// A setting in a line.
pub(super) fn brief(setting: &dyn Setting) -> String {
    format!("{} [default: {}]", sentence(setting.help()), default(setting))
}

/// A setting with its variable and what is accepted.
pub(super) fn full(setting: &dyn Setting) -> String {
    let accepted = format!("{}: {}", setting.name(), setting.accepted());
    let default = format!("[default: {}]", default(setting));
    let is_short = accepted.chars().count() + 1 + default.chars().count() <= WIDTH - INDENT;
    let between = if is_short { " " } else { "\n" };
    format!("{}.\n{accepted}{between}{default}", sentence(setting.help()))
}

/// What stands below the flags where everything is shown: the secrets, and where values come from.
pub(super) fn end(tables: &[Table]) -> String {
    let secrets = tables.iter().flat_map(|table| &table.settings).filter(|it| it.is_secret());
    let entries: String = secrets.map(|setting| secret(*setting)).collect();
    format!("Secrets:\n{}\n{entries}\n{}", wrapped(SECRETS, 2), wrapped(SOURCES, 0))
}

fn secret(setting: &dyn Setting) -> String {
    let file = setting.file_name().unwrap_or_default();
    format!("\n  {}, {file}\n{}\n", setting.name(), wrapped(&full(setting), INDENT))
}

fn default(setting: &dyn Setting) -> &'static str {
    match setting.default() {
        Preset::Value(text) | Preset::Described(text) => text,
    }
}

fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    let first = rest.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(rest).collect()
}

/// The lines of a text, each indented by so many blanks and none longer than [`WIDTH`] where its words allow.
fn wrapped(text: &str, indent: usize) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut current = " ".repeat(indent);
        for word in line.split(' ') {
            let is_first = current.len() == indent;
            if !is_first && current.chars().count() + 1 + word.chars().count() > WIDTH {
                lines.push(std::mem::replace(&mut current, " ".repeat(indent)));
            } else if !is_first {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines.join("\n")
}
