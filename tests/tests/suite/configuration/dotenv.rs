//! The `.env` file of a process: values as they stand, and a fault only where somebody reads it.

use std::fs;

use e2e::forge::Token;
use e2e::{Folder, Stack};

use super::programs::{EDGE, KEYS, STANDALONE};

/// It begins as the secret that the seed's example has.
const SECRET: &str = r"g#^%@69($dsf45$HOME\n`id`!&*|;<>~mkfds";

#[tokio::test]
async fn a_secret_is_taken_as_it_stands_between_lines_that_are_not_ours() {
    let stack = Stack::with(|config| {
        config.unset("SECRET_KEY").dotenv(&format!(
            "\u{feff}OTHER=`x` # y\r\nPEM=\"-----BEGIN\r\nabc+/=\r\n\"\r\nif true; then\r\n\
             export SECRET_KEY={SECRET}\r\nCACHE.DIR='\r\n"
        ));
    });
    let api = stack.api();
    let user = api.user().await;
    let token = Token::read(&user.token);
    api.as_user(&token.sign(SECRET)).await.expect(200);
    api.as_user(&token.sign(&SECRET.replace("$HOME", ""))).await.unauthenticated();
}

#[test]
fn a_line_that_cannot_be_taken_as_it_stands_stops_whoever_reads_it() {
    let folder = Folder::new();
    for (line, said) in [
        ("API_KEY_EXPIRE_DAYS='hunter2", ".env, line 2: a quote is not closed"),
        ("API_KEY_EXPIRE_DAYS=7 # hunter2", ".env, line 2: a # at its beginning"),
        ("API_KEY_EXPIRE_DAYS: hunter2", ".env, line 2: no = follows the name"),
        ("API_KEY_EXPIRE_DAYS=7\nAPI_KEY_EXPIRE_DAYS=8", ".env, line 3: set a second time"),
        ("API_KEY_EXPIRE_DAYS=hunter2\0", ".env, line 2: the value holds a control"),
    ] {
        fs::write(folder.join(".env"), format!("# {line:?}\n{line}\n")).unwrap();
        for program in [STANDALONE, KEYS] {
            let refused = program.refused(folder.path(), 78, &[]);
            let expected = format!("{}: API_KEY_EXPIRE_DAYS: {said}", program.name);
            assert!(refused.starts_with(&expected), "{refused}");
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        assert_eq!(EDGE.run(folder.path(), &["--check-config"], &[]).code, Some(0), "{line}");
    }
    fs::write(folder.join(".env"), b"\xff\xfeA\0=\x001\0").unwrap();
    let refused = EDGE.refused(folder.path(), 78, &[]);
    assert!(refused.contains(".env: ") && refused.contains("UTF-16"), "{refused}");
    fs::remove_file(folder.join(".env")).unwrap();
    fs::create_dir(folder.join(".env")).unwrap();
    assert_eq!(EDGE.run(folder.path(), &["--check-config"], &[]).code, Some(0));
}
