//! Many questions, one statement, one snapshot.

use latchkey_contract::keys::KeysAuthority;
use latchkey_contract::lease::ReadAt;
use latchkey_store::{Batched, values};

use super::*;
use crate::bench::{Bench, USER, at, bench, member};
use crate::{SnapshotRow, verification};

const FIND: Batched =
    verification!("keys", columns: "hash", nulls: "NULL", from: "api_keys", where: "hash");

/// The keys by their hashes.
struct Keys;

#[derive(sqlx::FromRow)]
struct Row {
    #[sqlx(flatten)]
    snapshot: SnapshotRow,
    hash: Option<Vec<u8>>,
}

impl Rows for Keys {
    type Id = Vec<u8>;
    type Row = Vec<u8>;

    fn id(id: &Vec<u8>) -> &[u8] {
        id
    }

    fn id_of(row: &Vec<u8>) -> &[u8] {
        row
    }

    async fn find(
        db: &Db,
        ids: &[&[u8]],
        members: &[&[u8]],
    ) -> Result<(Read, Vec<Vec<u8>>), StoreError> {
        assert!(ids.is_sorted_by(|a, b| a < b) && members.is_sorted_by(|a, b| a < b), "each once");
        let rows: Vec<Row> = FIND.fetch(db, ids, members).await?;
        let mut read = Read::default();
        let own = rows.into_iter().filter(|row| !read.take(&row.snapshot));
        let own = own.filter_map(|row| row.hash).collect();
        Ok((read, own))
    }
}

/// A database that knows these keys, and one member.
async fn knowing(test: &str, keys: &[u8]) -> Bench {
    const INSERT: &str = "INSERT INTO api_keys (owner_id, hash, hint, name, created_at, expires_at) \
        VALUES (1, $1, 'sk_', 'ci', 0, 1)";
    let bench = bench(test).await;
    bench.member(1, 2).await;
    for key in keys {
        bench.execute(INSERT, values![&[*key][..]]).await;
    }
    bench
}

#[tokio::test]
async fn each_is_answered_in_the_order_of_its_question_and_as_whoever_it_is() {
    let bench = knowing("lookup", &[1, 2]).await;
    let lookup = Lookup::<Keys>::new(bench.store.db.clone());
    let ids = |ids: &[u8]| ids.iter().map(|id| vec![*id]).collect::<Vec<_>>();
    let (mine, stranger) = (Some(member(1, USER)), Some(member(1, "other")));
    let items = vec![(ids(&[2, 9, 2, 1]), mine), (ids(&[1]), stranger), (ids(&[]), None)];
    let answers = lookup.answer(items).await.unwrap();
    let rows = |at: usize| answers[at].rows.clone();
    assert_eq!(rows(0), [Some(vec![2]), None, Some(vec![2]), Some(vec![1])]);
    assert_eq!((rows(1), rows(2)), (vec![Some(vec![1])], Vec::new()));
    let here = bench.store.revision().await.unwrap();
    let read_at = ReadAt { epoch: here.epoch(), revision: at(0) };
    let says = |at: usize| answers[at].answer::<KeysAuthority>(vec![None]);
    assert_eq!(says(0), MemberResult::Member(Verdicts::in_part(read_at, vec![None])));
    assert_eq!(says(1), MemberResult::NotMember);
    assert_eq!(says(2), MemberResult::Member(Verdicts::in_part(read_at, vec![None])));
    bench.end().await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_an_error() {
    let bench = knowing("error", &[]).await;
    bench.execute("DROP TABLE keys_members", &[]).await;
    let lookup = Lookup::<Keys>::new(bench.store.db.clone());
    assert!(lookup.answer(vec![(Vec::new(), None)]).await.is_err());
    bench.end().await;
}

#[test]
fn a_question_weighs_as_many_as_it_asks_for_and_four_of_the_longest_go_together() {
    let weight = |count| Lookup::<Keys>::weight(&(vec![Vec::new(); count], None));
    assert_eq!([0, 1, 2, MAX_BATCH].map(weight), [1, 1, 2, MAX_BATCH]);
    assert_eq!(Lookup::<Keys>::MAX_WEIGHT / MAX_BATCH, 4);
}
