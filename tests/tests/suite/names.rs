//! Accounts that were opened before names were folded: all of them go on, and no new one takes their names.

use e2e::{ANYBODY, Folder, postgres};
use latchkey_contract::Timestamp;
use latchkey_identity::store::{self, account, names};
use latchkey_identity::{names as chore, rules};
use latchkey_runtime::Clock;
use latchkey_store::{Db, values};

/// The step that folds names: a release before it had taken those before it.
const STEP: &str = "names";

/// Both engines, as the release before left them. The folder lives as long as its database.
async fn engines() -> [(Db, Option<Folder>); 2] {
    let folder = Folder::new();
    let url = format!("sqlite://{}", folder.join("latchkey.db").display());
    let sqlite = Db::open(&url, "test", 8).await.unwrap();
    let postgres = Db::open(&postgres::fresh_database().await, "test", 8).await.unwrap();
    let before = store::MIGRATIONS.iter().position(|step| step.description == STEP).unwrap();
    for db in [&sqlite, &postgres] {
        db.migrate("identity", &store::MIGRATIONS[..before]).await.unwrap();
    }
    [(sqlite, Some(folder)), (postgres, None)]
}

/// Opens an account as the release before does, with the canonical forms that it made.
async fn opened_before(db: &Db, username: &str, email: &str) {
    const INSERT: &str = "INSERT INTO users (email, email_canonical, username, username_canonical, \
        password_hash, is_active, created_at) VALUES ($1, $1, $2, $2, $2, TRUE, 0)";
    db.execute(INSERT, values![email, username]).await.unwrap();
}

/// The canonical name of the account that a login with this text finds: it is the hash here.
async fn found(db: &Db, text: &str) -> Option<String> {
    let typed = rules::typed_username(text)?;
    account::find_login(db, &typed).await.unwrap().map(|login| login.password_hash)
}

/// Which of a new account's name and address somebody has.
async fn taken(db: &Db, username: &str, email: &str) -> (bool, bool) {
    let username = rules::username(Some(username)).unwrap();
    let email = rules::email(Some(email)).unwrap();
    let taken = account::taken(db, &email, &username).await.unwrap();
    let user = account::NewUser {
        email: &email,
        username: &username,
        password_hash: "new",
        created_at: Timestamp(0),
    };
    if taken.email || taken.username {
        let made = account::insert(db, &user, &ANYBODY).await.unwrap();
        assert_eq!(made, None, "the unique columns refuse it, too");
    }
    (taken.username, taken.email)
}

#[tokio::test]
async fn accounts_from_before_are_found_and_their_names_are_taken_in_every_spelling() {
    for (db, _folder) in engines().await {
        opened_before(&db, "ada", "ada@example.com").await;
        opened_before(&db, "σίσυφος", "ada@bücher.example").await;
        opened_before(&db, "straße", "straße@example.com").await;
        db.migrate("identity", store::MIGRATIONS).await.unwrap();
        chore::complete(&db).await.unwrap();
        for (text, account) in [
            ("ADA", "ada"),
            ("Σίσυφος", "σίσυφος"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("Straße", "straße"),
            ("STRASSE", "straße"),
        ] {
            assert_eq!(found(&db, text).await.as_deref(), Some(account), "{text}");
            assert_eq!(taken(&db, text, "new@example.com").await, (true, false), "{text}");
        }
        let addresses = ["ADA@example.com", "ada@xn--bcher-kva.example", "STRASSE@example.com"];
        for address in addresses {
            assert_eq!(taken(&db, "somebody", address).await, (false, true), "{address}");
        }
        assert_eq!(found(&db, "grace").await, None);
    }
}

#[tokio::test]
async fn accounts_whose_names_fall_together_go_on_by_their_exact_names_and_nobody_else_gets_it() {
    for (db, _folder) in engines().await {
        for (username, email) in [
            ("σίσυφος", "ada@bücher.example"),
            ("σίσυφοσ", "ada@xn--bcher-kva.example"),
            ("ßs", "one@example.com"),
            ("sß", "two@example.com"),
        ] {
            opened_before(&db, username, email).await;
        }
        db.migrate("identity", store::MIGRATIONS).await.unwrap();
        chore::complete(&db).await.unwrap();
        for (text, account) in [
            ("Σίσυφος", Some("σίσυφος")),
            ("ΣΊΣΥΦΟΣ", Some("σίσυφοσ")),
            ("σίσυφοσ", Some("σίσυφοσ")),
            ("ßS", Some("ßs")),
            ("Sß", Some("sß")),
            // Whose it would be is nobody's to say.
            ("sss", None),
            ("ΣΊςΥΦΟΣ", None),
        ] {
            assert_eq!(found(&db, text).await.as_deref(), account, "{text}");
        }
        for text in ["Σίσυφος", "ΣΊΣΥΦΟΣ", "ΣΊςΥΦΟΣ", "sss", "SSS"] {
            assert_eq!(taken(&db, text, "new@example.com").await, (true, false), "{text}");
        }
        assert_eq!(taken(&db, "new", "ada@BÜCHER.example").await, (false, true));
    }
}

#[tokio::test]
async fn what_a_replica_of_the_release_before_writes_meanwhile_is_folded_at_the_next_sweep() {
    for (db, _folder) in engines().await {
        db.migrate("identity", store::MIGRATIONS).await.unwrap();
        chore::complete(&db).await.unwrap();
        opened_before(&db, "σίσυφος", "ada@bücher.example").await;
        opened_before(&db, "ada", "grace@example.com").await;
        assert_eq!(found(&db, "σίσυφος").await.as_deref(), Some("σίσυφος"), "found before as well");
        let mut folded = 0;
        loop {
            let now = names::fold(&db, 1).await.unwrap();
            folded += now;
            if now == 0 {
                break;
            }
        }
        assert_eq!(folded, 2);
        assert_eq!(found(&db, "ΣΊΣΥΦΟΣ").await.as_deref(), Some("σίσυφος"));
        assert_eq!(taken(&db, "ADA", "x@example.com").await, (true, false));
        let sweeper =
            latchkey_identity::sweeper::Sweeper { db: db.clone(), clock: Clock::manual(0) };
        sweeper.sweep().await.unwrap();
    }
}

#[tokio::test]
async fn replicas_that_start_together_fold_every_name_once() {
    for (db, _folder) in engines().await {
        for number in 0..40 {
            let name = format!("straße{number}");
            opened_before(&db, &name, &format!("{name}@bücher.example")).await;
            let name = format!("strasse{number}");
            opened_before(&db, &name, &format!("{name}@bücher.example")).await;
        }
        db.migrate("identity", store::MIGRATIONS).await.unwrap();
        let (one, two, three) =
            tokio::join!(chore::complete(&db), chore::complete(&db), chore::complete(&db));
        one.and(two).and(three).unwrap();
        for number in 0..40 {
            for name in [format!("straße{number}"), format!("strasse{number}")] {
                assert_eq!(found(&db, &name).await.as_ref(), Some(&name));
            }
            assert_eq!(found(&db, &format!("ſtraße{number}")).await, None);
        }
    }
}
