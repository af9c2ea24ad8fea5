//! The command line and the configuration: what is accepted, and how a bad value is told.

use std::path::Path;

use e2e::process::mortal;
use e2e::{Finished, Folder, Process, SECRET, Service, Stack, binary};

mod check;
mod dotenv;
mod flags;
mod page;
mod programs;

const GOOD: (&str, &str) = ("LISTEN_ADDR", "127.0.0.1:0");

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
    binary::run(Folder::new().path(), arguments, environment)
}

/// A file of the repository.
fn repository(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The variables of a page's tables: what stands in backticks in the first cell of a row.
fn documented(page: &str) -> Vec<String> {
    let page = repository(page);
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let words = cells.flat_map(|cell| cell.split('`').map(str::to_owned).collect::<Vec<_>>());
    let upper = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    words.filter(|word| word.len() > 4 && word.contains('_') && word.chars().all(upper)).collect()
}

/// The help texts of the services as processes of their own.
fn help_of_services() -> String {
    let folder = Folder::new();
    let help = |service: Service| {
        let program = mortal(binary::named(service.binary()));
        let mut command = binary::clean(program, folder.path());
        command.arg("--help");
        Process::start(command).finish().stdout
    };
    Service::ALL.into_iter().map(help).collect()
}

#[test]
fn help_names_every_variable_and_option() {
    let help = run(&["--help"], &[]);
    assert_eq!(help.code, Some(0));
    let all = help.stdout.clone() + &help_of_services();
    let documented = documented("docs/configuration.md");
    assert!(documented.len() > 30, "{documented:?}");
    for name in documented {
        assert!(all.contains(&name), "no {name} in {all}");
    }
    for option in ["--help", "--version", "--check-config"] {
        assert!(help.stdout.contains(option), "no {option} in {}", help.stdout);
    }
}

#[test]
fn the_readme_and_the_example_name_every_variable_of_the_contract() {
    let [table, page] = ["README.md", "docs/configuration.md"].map(documented);
    let example = repository(".env.example");
    let contract = [
        "DATABASE_URL",
        "SECRET_KEY",
        "ACCESS_TOKEN_EXPIRE_MINUTES",
        "API_KEY_EXPIRE_DAYS",
        "CORS_ORIGINS",
        "LISTEN_ADDR",
        "RATE_LIMIT",
        "RUST_LOG",
    ];
    for name in contract {
        assert!(table.iter().any(|known| known == name), "no {name} in the README's table");
    }
    for name in table.iter().chain(&page) {
        assert!(page.contains(name), "no {name} in docs/configuration.md");
        assert!(example.contains(&format!("{name}=")), "no {name} in .env.example");
    }
}

#[test]
fn the_version_is_told() {
    let version = run(&["--version"], &[]);
    assert_eq!(version.code, Some(0));
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{}", version.stdout);
    assert!(version.stdout.to_lowercase().contains("latchkey"), "{}", version.stdout);
}

#[test]
fn an_unknown_option_is_a_usage_error() {
    for arguments in [&["--nonsense"][..], &["serve"], &["--check-config=yes"], &["-x"]] {
        let end = run(arguments, &[GOOD]);
        assert_eq!(end.code, Some(2), "{arguments:?}: {}", end.stderr);
        assert!(!end.stderr.is_empty());
    }
}

#[test]
fn a_good_configuration_is_called_good_and_nothing_is_started() {
    let folder = Folder::new();
    let end = binary::run(folder.path(), &["--check-config"], &[GOOD]);
    assert_eq!(end.code, Some(0), "{}", end.stderr);
    assert!(!end.stdout.is_empty(), "it should say so: {}", end.stderr);
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "a check leaves nothing behind"
    );
}

/// Values that no setting of keys takes.
const BAD_OF_KEYS: [(&str, &str); 25] = [
    ("API_KEY_EXPIRE_DAYS", "0"),
    ("API_KEY_EXPIRE_DAYS", "3651"),
    ("API_KEY_EXPIRE_DAYS", "year"),
    ("API_KEY_MAX_DAYS", "0"),
    ("API_KEY_MAX_DAYS", "3651"),
    // Fewer days than a key has whose maker does not say.
    ("API_KEY_MAX_DAYS", "364"),
    ("API_KEY_PREFIX", "s"),
    ("API_KEY_PREFIX", "Sk"),
    ("API_KEY_PREFIX", "sk_"),
    ("API_KEY_PREFIX", "a2345678901234567"),
    ("API_KEY_ENVIRONMENTS", "live,live"),
    ("API_KEY_ENVIRONMENTS", "live,"),
    ("API_KEY_ENVIRONMENTS", "live,Sandbox"),
    ("API_KEY_ENVIRONMENTS", "e1,e2,e3,e4,e5,e6,e7,e8,e9"),
    // Scanners of secrets take their keys for another company's.
    ("API_KEY_ENVIRONMENTS", "live,test"),
    ("API_KEY_ENVIRONMENTS", "main,live"),
    ("API_KEY_ENVIRONMENTS", "main,sandbox,prod"),
    ("API_KEY_ENVIRONMENTS", "main,org"),
    ("API_KEY_ROTATE_GRACE_SECONDS", "-1"),
    ("API_KEY_ROTATE_GRACE_SECONDS", "7776001"),
    ("API_KEY_DEFAULT_SCOPES", "orders:read,orders:write"),
    ("API_KEY_DEFAULT_SCOPES", "orders*"),
    ("API_KEYS_PER_OWNER", "0"),
    ("API_KEYS_PER_OWNER", "1000001"),
    ("API_KEYS_PER_OWNER", "none"),
];

#[test]
fn a_bad_value_stops_the_start_with_one_line_that_names_it() {
    let bad = [
        ("LISTEN_ADDR", "nonsense"),
        ("LISTEN_ADDR", "127.0.0.1"),
        ("LISTEN_ADDR", "127.0.0.1:99999"),
        ("RATE_LIMIT", "maybe"),
        ("WORKER_THREADS", "0"),
        ("WORKER_THREADS", "1025"),
        ("WORKER_THREADS", "all"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "soon"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "0"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "-5"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "1.5"),
        ("ACCESS_TOKEN_EXPIRE_MINUTES", "99999999999999999999"),
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "localhost"),
        ("CORS_ORIGINS", "http://localhost:3000/path"),
        ("CORS_ORIGINS", "https://*.example.com"),
        ("CORS_ORIGINS", "https://example.com:*"),
        ("CORS_ORIGINS", "https://a.example,"),
        ("CORS_ORIGINS", "https://a.example b"),
        ("CORS_ORIGINS", "https://a.example?q"),
        ("CORS_ORIGINS", "https://a.example#f"),
        ("CORS_ORIGINS", "https://u@a.example"),
        ("CORS_ORIGINS", "https://a..example"),
        ("CORS_ORIGINS", "https://a.example:0"),
        ("CORS_ORIGINS", "https://a.example:99999"),
        ("CORS_ORIGINS", "https://b\u{fc}cher.example"),
        ("CORS_ORIGINS", "https://127.1"),
        ("CORS_ORIGINS", "https://[::1"),
        ("CORS_ORIGINS", "https://"),
        ("CORS_ORIGINS", "null"),
        ("CORS_ORIGINS", "file://"),
        ("CORS_ORIGINS", "none,https://a.example"),
        ("KEEP_ALIVE_SECONDS", "4"),
        ("KEEP_ALIVE_SECONDS", "3601"),
        ("KEEP_ALIVE_SECONDS", "off"),
        ("TRUSTED_PROXIES", "-1"),
        ("TRUSTED_PROXIES", "10.0.0.1"),
        ("ARGON2_MEMORY_KIB", "much"),
        ("ARGON2_MEMORY_KIB", "0"),
        ("ARGON2_ITERATIONS", "0"),
        ("ARGON2_PARALLELISM", "0"),
        ("SECRET_KEY", "short"),
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "nonsense"),
    ];
    for (name, value) in bad.into_iter().chain(BAD_OF_KEYS) {
        for arguments in [&["--check-config"][..], &[]] {
            let folder = Folder::new();
            let end = binary::run(folder.path(), arguments, &[GOOD, (name, value)]);
            assert_eq!(end.code, Some(78), "{name}={value}: {}", end.stderr);
            let text = end.stderr.trim();
            assert_eq!(text.lines().count(), 1, "{name}={value}: {text}");
            assert!(text.contains(name), "{name}={value}: {text}");
            assert!(!text.contains("panicked"), "{text}");
            assert!(text.len() > name.len() + 20, "what is accepted? {text}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{name}={value}");
        }
    }
}

#[test]
fn a_bad_value_in_the_env_file_is_told_in_the_same_way() {
    let folder = Folder::new();
    std::fs::write(folder.join(".env"), "API_KEY_EXPIRE_DAYS=year\n").unwrap();
    let end = binary::run(folder.path(), &[], &[GOOD]);
    assert_eq!(end.code, Some(78), "{}", end.stderr);
    assert!(end.stderr.contains("API_KEY_EXPIRE_DAYS"), "{}", end.stderr);
}

#[test]
fn what_is_set_to_nothing_hides_nothing() {
    let folder = Folder::new();
    std::fs::write(folder.join(".env"), "API_KEY_EXPIRE_DAYS=year\n").unwrap();
    let empty = ("API_KEY_EXPIRE_DAYS", "");
    for arguments in [&["--check-config"][..], &["--check-config", "--api-key-expire-days="]] {
        let end = binary::run(folder.path(), arguments, &[GOOD, empty]);
        assert_eq!(end.code, Some(78), "{arguments:?}: {}", end.stderr);
        assert!(end.stderr.contains("API_KEY_EXPIRE_DAYS"), "{}", end.stderr);
    }
    let set = binary::run(folder.path(), &["--check-config", "--api-key-expire-days=9"], &[empty]);
    assert_eq!(set.code, Some(0), "{}", set.stderr);
}

#[test]
fn a_refused_secret_is_not_shown() {
    let end = run(&[], &[GOOD, ("SECRET_KEY", "hunter2hunter2")]);
    assert_eq!(end.code, Some(78));
    assert!(end.stderr.contains("32"), "what is accepted: {}", end.stderr);
    let url = "mysql://root:hunter2hunter2@db.example/latchkey";
    let other = run(&[], &[GOOD, ("DATABASE_URL", url)]);
    assert_eq!(other.code, Some(78));
    for text in [end.stderr, end.stdout, other.stderr, other.stdout] {
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_kept_secret_that_cannot_be_used_stops_only_who_needs_it() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/secret.key"), "short").unwrap();
    let needed = binary::run(folder.path(), &["--check-config"], &[GOOD]);
    assert_eq!(needed.code, Some(73), "{}", needed.stderr);
    assert!(needed.stderr.contains("secret.key"), "{}", needed.stderr);
    let given = binary::run(folder.path(), &["--check-config"], &[GOOD, ("SECRET_KEY", SECRET)]);
    assert_eq!(given.code, Some(0), "{}", given.stderr);
    assert!(given.stderr.contains("sealed without a key"), "{}", given.stderr);
}

#[test]
fn a_second_secret_is_another_one() {
    let twice = [("SECRET_KEY", SECRET), ("SECRET_KEY_PREVIOUS", SECRET)];
    for arguments in [&["--check-config"][..], &[]] {
        let end = run(arguments, &[GOOD, twice[0], twice[1]]);
        assert_eq!(end.code, Some(78), "{}", end.stderr);
        assert!(end.stderr.contains("SECRET_KEY_PREVIOUS: the same as"), "{}", end.stderr);
        assert!(!end.stderr.contains(SECRET), "{}", end.stderr);
    }
}

#[tokio::test]
async fn the_env_file_is_read_and_the_environment_wins() {
    let stack = Stack::with(|config| {
        config.dotenv("ACCESS_TOKEN_EXPIRE_MINUTES=7\nAPI_KEY_EXPIRE_DAYS=\"11\"\n# a comment\n\n");
        config.set("API_KEY_EXPIRE_DAYS", "13");
    });
    let api = stack.api();
    let user = api.user().await;
    let claims = e2e::forge::Token::read(&user.token).claims;
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 7 * 60);
    let made = api.make_key(&user.token, &serde_json::json!({"name": "days"})).await.expect(201);
    let life = e2e::answer::time(&made["expires_at"]) - e2e::answer::time(&made["created_at"]);
    assert_eq!(life.whole_days(), 13);
}

#[test]
fn no_part_of_an_address_that_may_be_a_secret_is_repeated() {
    let passwords =
        ["hun?ter2", "12?hunter2", "hun#ter2", "1#hunter2", "hun/ter2", "1/hunter2", "hunter2?a=b"];
    let mut addresses: Vec<(&str, String)> = Vec::new();
    for password in passwords {
        addresses.push(("DATABASE_URL", format!("postgres://user:{password}@127.0.0.1/latchkey")));
        addresses.push((
            "DATABASE_URL",
            format!("postgres://user:{password}@127.0.0.1:1/l?sslmode=require"),
        ));
        addresses.push(("NATS_URL", format!("nats://user:{password}@127.0.0.1:4222")));
        addresses.push((
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            format!("http://user:{password}@127.0.0.1:4317"),
        ));
        addresses.push((
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            format!("http://user:{password}@[::1]:4317"),
        ));
    }
    addresses.push(("DATABASE_URL", "postgres://user:1?hunter2".to_owned()));
    addresses.push(("DATABASE_URL", "postgres://127.0.0.1/latchkey?pasword=hunter2".to_owned()));
    addresses.push(("DATABASE_URL", "sqlite://data/latchkey.db?key=hunter2".to_owned()));
    addresses.push(("DATABASE_URL_FILE", "postgres://user:hunter2@127.0.0.1/latchkey".to_owned()));
    let folder = Folder::new();
    for (name, address) in addresses {
        let service = if name == "NATS_URL" { "latchkey-keys" } else { "latchkey" };
        let mut command = binary::clean(mortal(binary::named(service)), folder.path());
        command.env("LISTEN_ADDR", "127.0.0.1:0").env("RUST_LOG", "trace").env(name, &address);
        if name == "NATS_URL" {
            command.env("DATABASE_URL", "postgres://127.0.0.1/x");
        }
        command.arg("--check-config");
        let end = Process::start(command).finish();
        assert_eq!(end.code, Some(78), "{address}: {}", end.stderr);
        let text = end.stdout + &end.stderr;
        assert!(text.contains(name), "{address}: {text}");
        assert!(!text.contains("hunter") && !text.contains("ter2"), "{address}: {text}");
        if name == "DATABASE_URL" && address.contains("user:") && address.contains('@') {
            assert!(text.contains("%3F") && text.contains("%40"), "what to write: {text}");
        }
    }
}

/// Identity and keys would answer it 403, and its clients 503, while it said that it is ready.
#[test]
fn whoever_gives_commands_is_called_so_on_the_bus() {
    let folder = Folder::new();
    let ends = |service: &str, arguments: &[&str], user: &str| {
        let mut command = binary::clean(mortal(binary::named(service)), folder.path());
        // Nobody listens there.
        command.env("NATS_URL", "nats://127.0.0.1:1").env("LISTEN_ADDR", "127.0.0.1:0");
        command.env("NATS_USER", user).env("NATS_PASSWORD", "hunter2").args(arguments);
        Process::start(command).finish()
    };
    let deactivate = ["user", "deactivate", "ada"];
    let refused = [
        ("latchkey-edge", &["--check-config"][..], ["eu-edge", "edges", "operator", "EDGE"]),
        ("latchkey-edge", &[], ["eu-edge", "edges", "operator", "EDGE"]),
        ("latchkey-identity", &deactivate, ["ann", "operators", "edge", "identity"]),
    ];
    for (service, arguments, users) in refused {
        for user in users {
            let end = ends(service, arguments, user);
            assert_eq!(end.code, Some(78), "{user}: {}", end.stderr);
            assert!(end.stderr.contains("NATS_USER"), "{user}: {}", end.stderr);
            assert!(!end.stderr.contains("hunter2"), "{}", end.stderr);
        }
    }
    for user in ["edge", "edge-1", "edge-eu-west"] {
        let end = ends("latchkey-edge", &["--check-config"], user);
        assert_eq!(end.code, Some(0), "{user}: {}", end.stderr);
    }
}
