//! `--check-config` refuses what a start refuses, with the same line, and makes nothing.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use e2e::process::mortal_nobody;
use e2e::{Folder, Process, SECRET, binary};

use super::programs::{ALL, EDGE, IDENTITY, KEY, KEYS, POSTGRES, Program, STANDALONE};

/// No value of any kind that has wrong ones.
const GARBAGE: &str = "hunter2 \u{a7}";

#[test]
fn a_wrong_value_is_refused_by_its_table_wherever_it_comes_from() {
    let mut refused = 0;
    for program in ALL {
        for setting in (program.tables)().iter().flat_map(|table| &table.settings) {
            let Err(error) = setting.check(GARBAGE) else { continue };
            let (name, line) = (setting.name(), format!("{}: {error}", program.name));
            let folder = Folder::new();
            assert_eq!(program.refused(folder.path(), 78, &[(name, GARBAGE)]), line);
            assert!(!setting.is_secret() || !line.contains("hunter2"), "{line}");
            if let Some(flag) = setting.flag() {
                let flag = format!("--{flag}={GARBAGE}");
                let end = program.run(folder.path(), &["--check-config", &flag], &[]);
                assert_eq!((end.code, end.stderr.trim()), (Some(78), line.as_str()), "{flag}");
            }
            if !program.good.iter().any(|(good, _)| *good == name) {
                fs::write(folder.join(".env"), format!("{name}={GARBAGE}\n")).unwrap();
                assert_eq!(program.refused(folder.path(), 78, &[]), line);
            }
            refused += 1;
        }
    }
    assert!(refused > 60, "{refused}");
}

/// A line of `.env` that cannot be read is a fault for whoever reads its variable, and for nobody else.
#[test]
fn a_program_reads_what_its_tables_say_and_nothing_else() {
    let names = |program: Program| -> BTreeSet<String> {
        let tables = (program.tables)();
        let settings = || tables.iter().flat_map(|table| &table.settings);
        let files = settings().filter_map(|setting| setting.file_name());
        settings().map(|setting| setting.name().to_owned()).chain(files).collect()
    };
    let all: BTreeSet<String> = ALL.into_iter().flat_map(names).collect();
    assert!(all.len() > 40, "{all:?}");
    for program in ALL {
        let (folder, own) = (Folder::new(), names(program));
        let good: Vec<_> = program.good.iter().map(|(name, _)| *name).collect();
        for name in all.iter().filter(|name| !good.contains(&name.as_str())) {
            fs::write(folder.join(".env"), format!("{name}='\n")).unwrap();
            let end = program.run(folder.path(), &["--check-config"], &[]);
            let expected = if own.contains(name) { 78 } else { 0 };
            assert_eq!(end.code, Some(expected), "{} {name}: {end:?}", program.name);
            let said = format!("{}: {name}: .env, line 1: a quote is not", program.name);
            assert!(expected == 0 || end.stderr.starts_with(&said), "{end:?}");
        }
    }
}

/// A program, settings on top of what it needs, and how the line begins that refuses them.
type Faulty<'a> = (Program, &'a [(&'a str, &'a str)], &'a str);

#[track_caller]
fn all_refused(folder: &Folder, faulty: &[Faulty<'_>]) {
    for (program, environment, expected) in faulty {
        let line = program.refused(folder.path(), 78, environment);
        let said = line.strip_prefix(&format!("{}: ", program.name)).unwrap_or_default();
        assert!(said.starts_with(expected), "{environment:?}: {line}");
        assert!(line.contains("; accepted: "), "{line}");
        assert!(!line.contains("hunter2") && !line.contains(SECRET), "{line}");
    }
}

#[test]
fn what_is_good_by_itself_and_not_together_is_refused_at_once() {
    let http = "127.0.0.1:8001";
    let faulty: &[Faulty<'_>] = &[
        (STANDALONE, &[POSTGRES], "SECRET_KEY: not set"),
        (IDENTITY, &[("SECRET_KEY", "")], "SECRET_KEY: not set"),
        (IDENTITY, &[("DATABASE_URL", "")], "DATABASE_URL: not set"),
        (KEYS, &[("DATABASE_URL", "")], "DATABASE_URL: not set"),
        (IDENTITY, &[("SECRET_KEY_PREVIOUS", SECRET)], "SECRET_KEY_PREVIOUS: the same as"),
        (STANDALONE, &[("LISTEN_ADDR", http), ("MONITOR_ADDR", http)], "MONITOR_ADDR: LISTEN_ADDR"),
        (EDGE, &[("LISTEN_ADDR", http), ("MONITOR_ADDR", "[::]:8001")], "MONITOR_ADDR: LISTEN"),
        (STANDALONE, &[("RUST_LOG", "===")], "RUST_LOG: "),
        (STANDALONE, &[("DATABASE_URL", "sqlite::memory:")], "DATABASE_URL: not the address"),
        (STANDALONE, &[("DATABASE_URL", "sqlite://x?mode=memory")], "DATABASE_URL: not the"),
        (STANDALONE, &[("DATABASE_URL", "sqlite://x?mode=ro")], "DATABASE_URL: not the address"),
        (STANDALONE, &[("DATABASE_URL", "sqlite:")], "DATABASE_URL: not the address"),
        (KEYS, &[("NATS_USER", "keys")], "NATS_PASSWORD: not set"),
        (KEYS, &[("NATS_PASSWORD", "hunter2")], "NATS_USER: not set"),
        (EDGE, &[("NATS_USER", "eu-edge"), ("NATS_PASSWORD", "hunter2")], "NATS_USER: "),
        (EDGE, &[("REVOKE_WAIT_MS", "2000")], "REVOKE_WAIT_MS: "),
        (KEYS, &[("RENEWAL_MS", "1500")], "RENEWAL_MS: "),
        (IDENTITY, &[("LEASE_MS", "7000"), ("CLOCK_DRIFT", "100")], "LEASE_MS: "),
    ];
    all_refused(&Folder::new(), faulty);
}

#[test]
fn a_file_that_a_setting_names_and_that_cannot_be_used_is_refused_at_once() {
    let folder = Folder::new();
    let file = |name: &str, content: &str| {
        fs::write(folder.join(name), content).unwrap();
        folder.join(name).to_str().unwrap().to_owned()
    };
    let (text, empty, secret) = (file("text", "hunter2"), file("empty", "\n"), file("key", SECRET));
    let torn = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let torn = file("torn.pem", torn);
    let tls = |query: String| format!("{}?sslmode=verify-full&{query}", POSTGRES.1);
    let root = |path: &str| tls(format!("sslrootcert={path}"));
    let (no_root, torn_root) = (root(&text), root(&torn));
    let (no_key, no_chain) = (tls(format!("sslcert={torn}")), tls(format!("sslkey={torn}")));
    let no_pair = tls(format!("sslcert={torn}&sslkey={torn}"));
    let parameter = "DATABASE_URL: the database address' parameter ";
    let [root, key, chain] =
        ["sslrootcert", "sslkey", "sslcert"].map(|name| format!("{parameter}{name} "));
    let faulty: &[Faulty<'_>] = &[
        (IDENTITY, &[("SECRET_KEY_FILE", &secret)], "SECRET_KEY: set both"),
        (STANDALONE, &[("SECRET_KEY_FILE", &text)], "SECRET_KEY: 7 characters"),
        (STANDALONE, &[("SECRET_KEY_FILE", &empty)], "SECRET_KEY_FILE: the file that it names is"),
        (STANDALONE, &[("SECRET_KEY_FILE", "/hunter2")], "SECRET_KEY_FILE: the file that it names"),
        (KEYS, &[("DATABASE_URL", &no_root)], &root),
        (KEYS, &[("DATABASE_URL", &torn_root)], &root),
        (KEYS, &[("DATABASE_URL", &no_key)], &key),
        (KEYS, &[("DATABASE_URL", &no_chain)], &chain),
        (STANDALONE, &[KEY, ("DATABASE_URL", &no_pair)], &key),
        (EDGE, &[("NATS_CA_FILE", "/nowhere.pem")], "NATS_CA_FILE: "),
        (EDGE, &[("NATS_CA_FILE", &text)], "NATS_CA_FILE: "),
        (EDGE, &[("NATS_CA_FILE", &torn)], "NATS_CA_FILE: "),
    ];
    all_refused(&folder, faulty);
}

#[test]
fn a_data_folder_that_cannot_be_used_is_refused_at_once() {
    let folder = Folder::new();
    fs::write(folder.join("file"), "this is no database but a text").unwrap();
    fs::create_dir_all(folder.join("folder/locked.db.lock")).unwrap();
    fs::write(folder.join("one.db"), "").unwrap();
    fs::hard_link(folder.join("one.db"), folder.join("two.db")).unwrap();
    fs::create_dir(folder.join("short")).unwrap();
    fs::write(folder.join("short/secret.key"), "hunter2").unwrap();
    for (url, part) in [
        ("sqlite://file/latchkey.db", "file cannot be used: "),
        ("sqlite://file/deeper/latchkey.db", "latchkey.db cannot be used: "),
        ("sqlite://folder", "folder cannot be used: it is no file"),
        ("sqlite://.", "cannot be used: it is no file"),
        ("sqlite://folder/locked.db", "locked.db.lock cannot be used: it is no file"),
        ("sqlite://file", "file is no SQLite database"),
        ("sqlite://two.db", "two.db has hard links"),
        ("sqlite://short/latchkey.db", "secret.key cannot be used: it holds fewer than 32"),
    ] {
        let line = STANDALONE.refused(folder.path(), 73, &[("DATABASE_URL", url)]);
        assert!(line.contains(part) && !line.contains("hunter2"), "{url}: {line}");
    }
}

/// Root may write everywhere.
#[test]
fn a_data_folder_without_the_right_to_write_is_refused_at_once() {
    let folder = Folder::new();
    fs::create_dir(folder.join("data")).unwrap();
    fs::create_dir(folder.join("open")).unwrap();
    fs::set_permissions(folder.join("data"), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(folder.join("open"), Permissions::from_mode(0o777)).unwrap();
    // Others may not read our target folder: nobody gets a copy.
    let copy = folder.join("latchkey");
    fs::copy(binary::path(), &copy).unwrap();
    let check = |url: &str| {
        let mut command = binary::clean(mortal_nobody(&copy), folder.path());
        command.arg("--check-config").envs(STANDALONE.good.iter().copied());
        command.env("DATABASE_URL", url);
        Process::start(command).finish()
    };
    for url in ["sqlite://data/latchkey.db", "sqlite://data/deeper/latchkey.db"] {
        let end = check(url);
        assert_eq!(end.code, Some(73), "{url}: {end:?}");
        assert!(end.stderr.contains("cannot be used: Permission denied"), "{end:?}");
    }
    let end = check("sqlite://open/deeper/latchkey.db");
    assert_eq!(end.code, Some(0), "{end:?}");
    assert_eq!(fs::read_dir(folder.join("open")).unwrap().count(), 0);
}

#[test]
fn what_is_good_is_called_good_and_nothing_is_made() {
    let folder = Folder::new();
    let path = folder.join("secret");
    fs::write(&path, format!("{SECRET}\n")).unwrap();
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let root = folder.join("ca.pem");
    fs::write(&root, authority.cert.pem()).unwrap();
    let (path, root) = (path.to_str().unwrap(), root.to_str().unwrap());
    let client = folder.join("client.pem");
    let pair = format!("{}{}", authority.cert.pem(), authority.signing_key.serialize_pem());
    fs::write(&client, pair).unwrap();
    let client = client.to_str().unwrap();
    let tls = format!(
        "{}?sslmode=verify-full&sslrootcert={root}&sslcert={client}&sslkey={client}",
        POSTGRES.1
    );
    let good: &[(Program, &[(&str, &str)])] = &[
        (STANDALONE, &[]),
        (STANDALONE, &[("DATABASE_URL", "sqlite://a/deeper/one.db?mode=rwc")]),
        (STANDALONE, &[POSTGRES, KEY]),
        (STANDALONE, &[POSTGRES, ("SECRET_KEY_FILE", path)]),
        (STANDALONE, &[("NATS_URL", "what it does not read")]),
        (IDENTITY, &[]),
        (IDENTITY, &[("SECRET_KEY", ""), ("SECRET_KEY_FILE", path)]),
        (IDENTITY, &[("DATABASE_URL", &tls)]),
        (KEYS, &[]),
        (KEYS, &[("NATS_USER", "keys"), ("NATS_PASSWORD_FILE", path), ("NATS_CA_FILE", root)]),
        (EDGE, &[]),
        (EDGE, &[("NATS_USER", "edge-1"), ("NATS_PASSWORD", "x"), ("MONITOR_ADDR", "off")]),
    ];
    let there = fs::read_dir(folder.path()).unwrap().count();
    for (program, environment) in good {
        let end = program.run(folder.path(), &["--check-config"], environment);
        assert_eq!(end.code, Some(0), "{}, {environment:?}: {end:?}", program.name);
        assert_eq!(end.stdout.trim(), "The configuration is good.", "{environment:?}");
        assert!(end.stderr.is_empty(), "{end:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), there);
}

#[test]
fn no_secret_is_shown_whatever_is_asked() {
    let folder = Folder::new();
    let url = "postgres://canary:canary-in-an-address@127.0.0.1:1/latchkey";
    let secrets = [
        ("DATABASE_URL", url),
        ("SECRET_KEY", "canary-canary-canary-canary-canary-canary"),
        ("SECRET_KEY_PREVIOUS", "canary-previous-canary-previous-canary"),
        ("NATS_USER", "edge"),
        ("NATS_PASSWORD", "canary-password"),
        ("RUST_LOG", "trace"),
    ];
    let asked: [&[&str]; 6] = [
        &["--help"],
        &["-h"],
        &["--check-config"],
        &["--check-config", "--lease-ms", "1"],
        &["--worker-threads", "0"],
        &["completions", "bash"],
    ];
    for program in ALL {
        for arguments in asked {
            let end = program.run(folder.path(), arguments, &secrets);
            let said = end.stdout + &end.stderr;
            assert!(!said.contains("canary"), "{} {arguments:?}: {said}", program.name);
            assert!(!said.is_empty(), "{} {arguments:?}", program.name);
        }
    }
}
