//! The files in `deploy/` do what they say, on the real servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::process::mortal;
use e2e::{Finished, Folder, Process, binary, postgres};
use sqlx::{Connection, Executor, PgConnection, Row};

fn repository(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// Runs a program to its end and fails where it does.
fn run(program: &str, folder: &Folder, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.current_dir(folder.path()).args(arguments);
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server that `deploy/postgres/init.sh` has made roles and databases on.
fn server() -> postgres::Server {
    let (server, folder) = (postgres::Server::start(), Folder::new());
    for name in ["identity", "keys"] {
        fs::write(folder.join(name), format!("{name}-secret\n")).unwrap();
    }
    let mut command = Command::new(repository("deploy/postgres/init.sh"));
    command.env("PGHOST", "127.0.0.1").env("PGPORT", server.port().to_string());
    command.env("IDENTITY_PASSWORD_FILE", folder.join("identity"));
    command.env("KEYS_PASSWORD_FILE", folder.join("keys"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // From now on passwords are asked for, as the image does.
    let rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n";
    fs::write(server.data().join("pg_hba.conf"), rules).unwrap();
    let mut server = server;
    server.restart();
    server
}

fn url(server: &postgres::Server, role: &str, database: &str) -> String {
    let user = format!("{role}:{role}-secret@");
    server.url(database).replace("postgres@", &user)
}

fn migrate(service: &str, database: &str) -> Finished {
    let folder = Folder::new();
    let program = mortal(binary::named(&format!("latchkey-{service}")));
    let mut command = binary::clean(program, folder.path());
    command.arg("migrate").env("DATABASE_URL", database);
    Process::start(command).finish()
}

/// The code of the error that the server answers with.
async fn refused(url: &str) -> String {
    match PgConnection::connect(url).await {
        Ok(_) => panic!("{url} lets everybody in"),
        Err(error) => error.as_database_error().unwrap().code().unwrap().into_owned(),
    }
}

#[tokio::test]
async fn each_role_works_in_its_own_database_and_reaches_no_other() {
    let server = server();
    for service in ["identity", "keys"] {
        let end = migrate(service, &url(&server, service, service));
        assert_eq!(end.code, Some(0), "{}", end.stderr);
    }
    for (role, other) in [("identity", "keys"), ("keys", "identity")] {
        for database in [other, "postgres", "template1"] {
            // insufficient_privilege
            assert_eq!(refused(&url(&server, role, database)).await, "42501", "{role} {database}");
        }
        let wrong = url(&server, role, role).replace("-secret", "-guess");
        // invalid_password
        assert_eq!(refused(&wrong).await, "28P01");
    }
}

#[tokio::test]
async fn no_role_may_do_what_only_a_superuser_may() {
    let server = server();
    for role in ["identity", "keys"] {
        let mut connection = PgConnection::connect(&url(&server, role, role)).await.unwrap();
        for statement in [
            "CREATE ROLE mine",
            "CREATE DATABASE mine",
            "ALTER ROLE CURRENT_USER SUPERUSER",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT * FROM pg_authid",
        ] {
            let error = connection.execute(statement).await.unwrap_err();
            let code = error.as_database_error().unwrap().code().unwrap();
            assert_eq!(code, "42501", "{role}: {statement}");
        }
        let row = sqlx::query(
            "SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls \
             FROM pg_roles WHERE rolname = CURRENT_USER",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert!(!row.get::<bool, _>(0), "{role}");
    }
}

/// An authority and a certificate of it for 127.0.0.1, as `NAME-ca.pem`, `NAME.pem` and `NAME.key`.
fn certificate(folder: &Folder, name: &str) {
    let file = |suffix: &str| format!("{name}{suffix}");
    let (authority, authority_key) = (file("-ca.pem"), file("-ca.key"));
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let mut arguments = vec!["req", "-x509", "-days", "2", "-subj", "/CN=a test's authority"];
    arguments.extend(key);
    arguments.extend(["-keyout", &authority_key, "-out", &authority]);
    run("openssl", folder, &arguments);
    let (request, own_key, own) = (file(".csr"), file(".key"), file(".pem"));
    let mut arguments = vec!["req", "-subj", "/CN=a test's server"];
    arguments.extend(key);
    arguments.extend(["-keyout", &own_key, "-out", &request]);
    run("openssl", folder, &arguments);
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let mut arguments = vec!["x509", "-req", "-days", "2", "-in", &request, "-extfile", "names"];
    arguments.extend([
        "-CA",
        &authority,
        "-CAkey",
        &authority_key,
        "-CAcreateserial",
        "-out",
        &own,
    ]);
    run("openssl", folder, &arguments);
}

#[tokio::test]
async fn postgres_is_spoken_to_over_tls_and_only_where_its_certificate_is_good() {
    let folder = Folder::new();
    certificate(&folder, "good");
    certificate(&folder, "other");
    let mut server = postgres::Server::start();
    for name in ["server.crt", "server.key"] {
        let from = folder.join(&name.replace("server", "good").replace(".crt", ".pem"));
        fs::copy(from, server.data().join(name)).unwrap();
    }
    let key = server.data().join("server.key");
    run("chmod", &folder, &["600", key.to_str().unwrap()]);
    if rustix::process::geteuid().is_root() {
        run("chown", &folder, &["nobody:nogroup", key.to_str().unwrap()]);
    }
    let settings = server.data().join("postgresql.conf");
    let text = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, format!("{text}\nssl = on\n")).unwrap();
    fs::write(server.data().join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n").unwrap();
    server.restart();

    let with = |mode: &str, ca: &str| {
        let ca = folder.join(ca);
        format!("{}?sslmode={mode}&sslrootcert={}", server.url("postgres"), ca.display())
    };
    let good = migrate("keys", &with("verify-full", "good-ca.pem"));
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    let wrong = migrate("keys", &with("verify-full", "other-ca.pem"));
    assert_eq!(wrong.code, Some(78), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("certificate"), "{}", wrong.stderr);
    // A name that is not in the certificate.
    let name = with("verify-full", "good-ca.pem").replace("@127.0.0.1", "@localhost");
    let wrong = migrate("keys", &name);
    assert_eq!(wrong.code, Some(78), "{}", wrong.stderr);
    // The server takes no connection without TLS.
    let plain = migrate("keys", &format!("{}?sslmode=disable", server.url("postgres")));
    assert_eq!(plain.code, Some(78), "{}", plain.stderr);
}
