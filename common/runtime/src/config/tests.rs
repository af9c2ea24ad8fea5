//! How declared variables are read.

use super::*;

const PORT: Variable<Number<u8>> = Variable {
    name: "PORT",
    kind: Number { min: 1, max: 9, note: "" },
    default: Preset::Value("5"),
    help: "where",
};
const ACCEPTED: &str = "a whole number from 1 to 9";
const KEY: Variable<Confidential<Number<u8>>> = Variable {
    name: "KEY",
    kind: Confidential(PORT.kind),
    default: Preset::Described("required"),
    help: "what",
};

fn with(name: &str, value: &str) -> Environment {
    Environment::of([(name.to_owned(), value.to_owned())])
}

#[test]
fn a_bad_number_names_the_variable_the_fault_and_what_is_accepted() {
    for bad in ["0", "10", "x", "1.5", "-1", " 1"] {
        let error = with("PORT", bad).read(&PORT).unwrap_err().to_string();
        assert_eq!(error, format!("PORT: {bad:?} cannot be used; accepted: {ACCEPTED}"));
    }
    assert_eq!(with("PORT", "9").read(&PORT), Ok(9));
}

#[test]
fn nothing_counts_as_not_set() {
    assert_eq!(with("PORT", "").read(&PORT), Ok(5));
    assert_eq!(with("PORT", "").find(&PORT), Ok(None));
    assert_eq!(Environment::default().find(&KEY), Ok(None));
    let required = Environment::default().read(&KEY).unwrap_err().to_string();
    assert_eq!(required, format!("KEY: not set; accepted: {ACCEPTED}"));
}

#[test]
fn nothing_is_a_value_where_a_kind_says_so() {
    const WORDS: Variable<OrNothing<Text>> = Variable {
        name: "WORDS",
        kind: OrNothing(Text { accepted: "words" }),
        default: Preset::Value("all"),
        help: "which",
    };
    assert_eq!(Environment::default().read(&WORDS).as_deref(), Ok("all"));
    assert_eq!(with("WORDS", "").read(&WORDS).as_deref(), Ok(""));
    // A flag, or the process' environment, over what a file says.
    let mut emptied = with("WORDS", "some");
    emptied.emptied.insert("WORDS".to_owned());
    assert_eq!(emptied.read(&WORDS).as_deref(), Ok(""));
    let flags = |words: &str| vec![("WORDS".to_owned(), words.to_owned())];
    let loaded = |words| Environment::load(flags(words)).unwrap().find(&WORDS).unwrap();
    assert_eq!((loaded("").as_deref(), loaded("x").as_deref()), (Some(""), Some("x")));
}

#[test]
fn a_secret_is_not_repeated_has_no_flag_and_may_stand_in_a_file() {
    let error = with("KEY", "hunter2").find(&KEY).unwrap_err().to_string();
    assert_eq!(error, format!("KEY: the value cannot be used; accepted: {ACCEPTED}"));
    assert_eq!((KEY.flag(), PORT.flag().as_deref()), (None, Some("port")));
    assert_eq!((KEY.file_name().as_deref(), PORT.file_name()), (Some("KEY_FILE"), None));

    let folder = std::env::temp_dir().join(format!("latchkey-secret-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("key");
    let read = |content: &[u8]| {
        std::fs::write(&path, content).unwrap();
        with("KEY_FILE", path.to_str().unwrap()).read(&KEY).map_err(|error| error.to_string())
    };
    assert_eq!(read(b"7\r\n\n"), Ok(7));
    let refused = "KEY_FILE: the file that it names";
    assert!(read(b"\n").unwrap_err().starts_with(&format!("{refused} is empty")));
    assert!(
        read(b"\xff").unwrap_err().starts_with(&format!("{refused} cannot be read: it is not"))
    );
    let both = [("KEY", "7"), ("KEY_FILE", path.to_str().unwrap())];
    let both = Environment::of(both.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert!(both.find(&KEY).unwrap_err().to_string().contains("set both itself and as a file"));
    std::fs::remove_dir_all(&folder).unwrap();
    let away = with("KEY_FILE", "/hunter2").find(&KEY).unwrap_err().to_string();
    assert!(away.starts_with(refused) && !away.contains("hunter2"), "{away}");
}

#[test]
fn what_cannot_be_taken_is_a_fault_for_whoever_reads_it_and_for_nobody_else() {
    let values = [("PORT".to_owned(), Err(".env, line 3: a quote".to_owned()))];
    let environment =
        Environment { values: values.into_iter().collect(), ..Environment::default() };
    let said = environment.read(&PORT).unwrap_err().to_string();
    assert_eq!(said, format!("PORT: .env, line 3: a quote; accepted: {ACCEPTED}"));
    assert_eq!(environment.find(&KEY), Ok(None));
}

#[test]
fn debug_output_shows_names_only() {
    assert_eq!(format!("{:?}", with("PORT", "hunter2")), r#"{"PORT"}"#);
}

#[test]
fn parts_that_share_a_setting_show_it_once() {
    let both = Table::joined([
        Table::new("one", &[&PORT]),
        Table::new("two", &[&KEY]),
        Table::new("one", &[&KEY, &PORT]),
    ]);
    let shown = |table: &Table| -> Vec<_> { table.settings.iter().map(|it| it.name()).collect() };
    let titles: Vec<_> = both.iter().map(|table| (table.title, shown(table))).collect();
    assert_eq!(titles, [("one", vec!["PORT", "KEY"]), ("two", vec!["KEY"])]);
}
