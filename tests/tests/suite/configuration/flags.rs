//! Flags, the help texts and completions, all of which follow from the tables.

use std::fs;
use std::process::Command;

use e2e::process::mortal;
use e2e::{Folder, Process, binary};
use latchkey_runtime::Setting;

use super::programs::{ALL, STANDALONE};

#[test]
fn a_flag_beats_the_environment_which_beats_the_env_file() {
    let folder = Folder::new();
    let check = |file: &str, environment: &str, flag: Option<&str>| {
        fs::write(folder.join(".env"), format!("API_KEY_EXPIRE_DAYS={file}\n")).unwrap();
        let mut command = binary::clean(mortal(binary::path()), folder.path());
        command.arg("--check-config").env("LISTEN_ADDR", "127.0.0.1:0");
        if environment != "unset" {
            command.env("API_KEY_EXPIRE_DAYS", environment);
        }
        command.args(flag.map(|value| format!("--api-key-expire-days={value}")));
        Process::start(command).finish()
    };
    for (file, environment, flag) in [
        ("7", "unset", None),
        ("no", "7", None),
        ("no", "no", Some("7")),
        // What is set to nothing is not set: the next one counts.
        ("7", "", None),
        ("no", "7", Some("")),
    ] {
        let end = check(file, environment, flag);
        assert_eq!(end.code, Some(0), "{file} {environment} {flag:?}: {end:?}");
    }
    for (file, environment, flag) in [
        ("no", "unset", None),
        ("7", "no", None),
        ("7", "7", Some("no")),
        ("7", "7", Some("-1")),
        ("no", "", None),
        ("7", "no", Some("")),
    ] {
        let end = check(file, environment, flag);
        assert_eq!(end.code, Some(78), "{file} {environment} {flag:?}: {end:?}");
        assert!(end.stderr.contains("API_KEY_EXPIRE_DAYS: \""), "{end:?}");
    }
}

#[test]
fn a_secret_has_no_flag_and_an_unknown_one_is_a_usage_error() {
    let folder = Folder::new();
    for program in ALL {
        for setting in (program.tables)().iter().flat_map(|table| &table.settings) {
            let words = setting.name().to_ascii_lowercase().replace('_', "-");
            for flag in [format!("--{words}"), format!("--{words}-file")] {
                let arguments = [&flag, "x", "--check-config"];
                let end = program.run(folder.path(), &arguments, &[]);
                let is_known = setting.flag().is_some_and(|known| format!("--{known}") == flag);
                assert_eq!(end.code == Some(2), !is_known, "{} {flag}: {end:?}", program.name);
            }
        }
    }
    for arguments in [
        &["--check-config", "healthcheck"][..],
        &["--lease-ms"],
        &["--lease-ms", "2000", "--lease-ms", "3000"],
        &["completions"],
        &["completions", "tcsh"],
    ] {
        let end = STANDALONE.run(folder.path(), arguments, &[]);
        assert_eq!(end.code, Some(2), "{arguments:?}: {end:?}");
    }
}

#[test]
fn the_help_fits_a_hundred_columns_and_says_what_a_table_says() {
    let folder = Folder::new();
    for program in ALL {
        let help = program.run(folder.path(), &["--help"], &[]).stdout;
        for line in help.lines() {
            let is_one_word = line.split_whitespace().count() == 1;
            assert!(line.chars().count() <= 100 || is_one_word, "{}: {line}", program.name);
        }
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let flat = words(&help);
        for table in (program.tables)() {
            let titled = table.settings.iter().any(|setting| !setting.is_secret());
            assert!(!titled || help.contains(&format!("\n{}:\n", table.title)), "{}", table.title);
            for setting in table.settings {
                let said = format!("{}: {}", setting.name(), setting.accepted());
                assert!(flat.contains(&words(&said)), "{}: no {said} in {flat}", program.name);
                assert!(flat.contains(&format!("[default: {}]", setting.default().shown())));
            }
        }
    }
}

#[test]
fn a_shell_completes_every_command_and_flag() {
    let folder = Folder::new();
    // It is asked for when nothing is set up yet.
    fs::write(folder.join(".env"), "WORKER_THREADS='1\n").unwrap();
    for program in ALL {
        let flags = (program.tables)().into_iter().flat_map(|table| table.settings);
        let flags: Vec<_> = flags.filter_map(Setting::flag).collect();
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let end = program.run(folder.path(), &["completions", shell], &[]);
            assert_eq!((end.code, end.stderr.as_str()), (Some(0), ""), "{shell}");
            for word in flags.iter().map(String::as_str).chain(["check-config", "healthcheck"]) {
                assert!(end.stdout.contains(word), "{} {shell}: no {word}", program.name);
            }
            if shell == "bash" {
                let script = folder.join("script");
                fs::write(&script, &end.stdout).unwrap();
                let mut bash = Command::new("bash");
                bash.args(["-c", "set -e; . \"$1\"; complete -p \"$0\"", program.name]);
                let done = bash.arg(script).output().unwrap();
                assert!(done.status.success(), "{}: {done:?}", program.name);
            }
        }
    }
}
