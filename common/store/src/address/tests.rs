//! Addresses as hosted databases give them, and as people mistype them.

use super::*;

const SECRET: &str = "hunter2";

fn refused(url: &str) -> String {
    let error = postgres(url).map(|_| url.to_owned()).unwrap_err().to_string();
    assert!(!error.contains("hunter") && !error.contains("ter2"), "{url}: {error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn addresses_of_hosted_databases_are_understood() {
    for url in [
        "postgresql://neondb_owner:npg_x@ep-cool-1-pooler.eu-central-1.aws.neon.tech/neondb?sslmode=require&channel_binding=prefer",
        "postgres://user:pw@ep-1.neon.tech/main?sslmode=require&options=endpoint%3Dep-1",
        "postgresql://postgres.abc:pw@aws-0-eu.pooler.supabase.com:5432/postgres?sslmode=verify-full&connect_timeout=15",
        "postgres://u:p@db.example:25060/defaultdb?sslmode=require&target_session_attrs=read-write",
        "postgres://u:p@db.example/d?application_name=latchkey&connect_timeout=10&gssencmode=disable",
        "postgres://u:p@db.example/d?options=-c%20search_path%3Dlatchkey",
        "postgres://u:p@localhost/d?host=/cloudsql/project:region:instance",
        "postgres://u:p@db.example/d?hostaddr=192.0.2.7&port=6432",
        "postgres://u:p@[2001:db8::1]:5432/d",
        "postgres://u:p@db.example/d?",
        "postgres://u@db.example",
    ] {
        postgres(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
    let with = |url| postgres(url).unwrap();
    let address = with("postgres://u:p@h/d?connect_timeout=15&application_name=a%20b");
    assert_eq!(address.connect_timeout, Duration::from_secs(15));
    assert_eq!(address.options.get_application_name(), Some("a b"));
    assert_eq!(with("postgres://u:p@h/d").connect_timeout, CONNECT_TIMEOUT);
    let options = with("postgres://u:p@h/d?options=-c%20search_path%3Dlatchkey").options;
    assert_eq!(options.get_options(), Some("-c search_path=latchkey"));
}

#[test]
fn a_password_is_read_where_it_is_encoded_and_never_repeated_where_it_is_not() {
    let good = "postgres://user:%3Fhun%2Fter%232%40@db.example/latchkey";
    assert_eq!(postgres(good).unwrap().options.get_host(), "db.example");
    for password in [
        "?hunter2",
        "hun?ter2",
        "12?hunter2",
        "hun#ter2",
        "1#hunter2",
        "hun/ter2",
        "1/hunter2",
        "hun ter2",
    ] {
        for rest in
            ["@db.example/latchkey", "@db.example:5432/latchkey?sslmode=require", "@db.example"]
        {
            let error = refused(&format!("postgres://user:{password}{rest}"));
            assert!(error.contains("%3F") && error.contains("%23"), "{error}");
        }
    }
    // Without a host behind it nothing tells a password from the rest.
    for url in [
        "postgres://user:pa?hunter2",
        "postgres://user:1?hunter2=x",
        "postgres://hunter2:x",
        "postgres://h:hunter2/d",
    ] {
        refused(url);
    }
}

#[test]
fn a_parameter_that_cannot_be_kept_is_named_with_what_is_accepted() {
    for (query, part) in [
        ("sslmod=verify-full", "is sslmode meant?"),
        ("ssl-mode=require", "is sslmode meant?"),
        ("sslmode=require&aplication_name=x", "is application_name meant?"),
        ("sslmode=require&pasword=hunter2", "parameter 2"),
        ("hunter2", "parameter 1"),
        ("sslmode=hunter2", "sslmode"),
        ("sslmode=perhaps", "verify-full"),
        ("sslrootcert=/nowhere/ca.pem", "sslrootcert"),
        ("sslrootcert=%2Fnowhere%2Fca.pem", "sslrootcert"),
        ("channel_binding=require", "verify-full"),
        ("target_session_attrs=standby", "primary"),
        ("connect_timeout=soon", "1 to 60"),
        ("connect_timeout=0", "1 to 60"),
        ("gssencmode=require", "gssencmode"),
        ("port=hunter2", "port"),
    ] {
        let error = refused(&format!("postgres://user:{SECRET}@db.example/latchkey?{query}"));
        assert!(error.contains(part), "{query}: {error}");
    }
    assert!(refused("postgres://u:hunter2@a,b/d").contains("several hosts"));
    assert!(refused("postgres:hunter2").contains("postgres://"));
}

#[test]
fn a_sqlite_file_is_where_its_address_says_without_percent_encoding() {
    for (url, file) in [
        ("sqlite:///x/my%20data/lk.db", "/x/my data/lk.db"),
        ("sqlite:///x/lk.db?mode=rwc", "/x/lk.db"),
        ("sqlite://data/latchkey.db", "data/latchkey.db"),
        ("sqlite:lk%3F.db", "lk?.db"),
    ] {
        assert_eq!(sqlite_file(url).as_deref(), Some(Path::new(file)), "{url}");
    }
    assert_eq!(sqlite_file("postgres://u:p@h/d"), None);
    assert_eq!(sqlite_file("sqlite:x?hunter2=1"), None);
}

#[test]
fn a_file_is_no_address_of_a_server() {
    for url in
        ["sqlite:///var/lib/latchkey.db", "sqlite://data/latchkey.db", "mysql://u:p@db.example/d"]
    {
        assert!(postgres(url).is_err(), "{url}");
    }
}
