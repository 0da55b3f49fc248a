use std::{
    collections::BTreeSet,
    fs,
    io::{Seek, SeekFrom, Write},
    path::Path,
    time::Duration,
};

use spillway_order::domain::{News, Progress};
use spillway_types::{Clock, EventId, SystemClock};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use self::shop::{Ids, Shop, euros};
use super::*;

mod damage;
mod served;
mod shop;

/// What is at rest stays so here: one look is enough.
const ONE_LOOK: Options = Options { looks: 1, pause: Duration::ZERO, quiet: Duration::from_secs(1), rows_max: 20 };
/// SQLite's page, in bytes.
const PAGE: u64 = 4_096;
const FILES: [&str; 6] = [
    spillway_inventory::DATABASE,
    spillway_order::DATABASE,
    spillway_payment::DATABASE,
    spillway_payment::SANDBOX_DATABASE,
    spillway_fulfilment::DATABASE,
    spillway_orchestrator::DATABASE,
];

async fn connect(data: &Path, file: &str) -> SqliteConnection {
    // Damage goes past the rules of the schema.
    SqliteConnectOptions::new()
        .filename(data.join(file))
        .foreign_keys(false)
        .pragma("ignore_check_constraints", "on")
        .busy_timeout(Duration::from_secs(5))
        .connect()
        .await
        .unwrap()
}

async fn execute(data: &Path, file: &str, sql: &str) {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(&mut connect(data, file).await).await.unwrap();
}

/// A data directory in which all is as it must be, with nobody writing in it any more.
async fn kept_shop() -> (TempDir, Ids) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path();
    let shop = Shop::open(&Places::in_directory(data)).await;
    let ids = shop.trade().await;
    shop.follow(news(data).await).await;
    drop(shop);
    let published = "update outbox set published_at = occurred_at; pragma wal_checkpoint(truncate)";
    for file in FILES {
        execute(data, file, published).await;
    }
    // The damage to come is none that the services could do: their guards are taken off.
    let guards =
        "drop trigger orders_contents_tr; drop trigger order_event_update_tr; drop trigger order_event_delete_tr;
                  pragma wal_checkpoint(truncate)";
    execute(data, spillway_order::DATABASE, guards).await;
    (directory, ids)
}

/// What fulfilment has told so far.
async fn news(data: &Path) -> Vec<News> {
    let sql = "select event_id, key, payload ->> 'order_state' from outbox order by position";
    let rows = sqlx::query(sql).fetch_all(&mut connect(data, spillway_fulfilment::DATABASE).await).await.unwrap();
    let news = rows.iter().filter_map(|row| {
        let event_id: EventId = row.get::<&str, _>(0).parse().unwrap();
        let order_id = row.get::<&str, _>(1).parse().unwrap();
        Progress::from_order_state(row.get(2)).map(|progress| News { event_id, order_id, progress })
    });
    news.collect()
}

fn copy(from: &Path) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in FILES {
        fs::copy(from.join(file), directory.path().join(file)).unwrap();
    }
    directory
}

/// SQL with orders in the place of their buyers' names.
fn about(sql: &str, ids: &Ids) -> String {
    ids.iter().fold(sql.to_owned(), |sql, (name, id)| sql.replace(&format!(":{name}"), &id.to_string()))
}

fn violated(report: &Report) -> BTreeSet<&str> {
    report.checks.iter().filter(|check| !check.is_clean()).map(|check| check.name).collect()
}

#[tokio::test]
async fn a_sound_shop_passes_and_every_check_has_something_to_judge() {
    let (data, ids) = kept_shop().await;
    let report = run_with(data.path(), &ONE_LOOK).await.unwrap();
    assert!(report.is_clean(), "{report}");
    let idle: Vec<_> = report.checks.iter().filter(|check| check.looked_at == 0).map(|check| check.name).collect();
    assert!(idle.is_empty(), "{idle:?}\n{report}");

    let Totals { orders, sagas, units_sold, captured, refunded } = &report.totals;
    let counts = |counts: &[(&str, u64)]| counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(*orders, counts(&[("CANCELLED", 2), ("FULFILLING", 1), ("PENDING", 1), ("SHIPPED", 1)]));
    assert_eq!(*sagas, counts(&[("COMPENSATED", 2), ("COMPLETED", 2), ("PARKED", 1), ("REFUSED", 1)]));
    assert_eq!((*units_sold, captured.as_slice(), refunded.as_slice()), (4, &[euros(4_200)][..], &[euros(300)][..]));
    let eve = ids.iter().find(|(name, _)| *name == "eve").unwrap().1;
    let parked = format!("saga {eve} is parked at capture_payment: INTERNAL");
    assert!(report.notes.iter().any(|note| note.starts_with(&parked)), "{:?}", report.notes);
}

#[tokio::test]
async fn each_damage_is_seen_by_the_checks_that_must_see_it_and_by_no_other() {
    let (sound, ids) = kept_shop().await;
    let mut wrong = Vec::new();
    for damage in damage::ALL.iter().copied().flatten() {
        let data = copy(sound.path());
        for (file, sql) in damage.done {
            execute(data.path(), file, &about(sql, &ids)).await;
        }
        let report = run_with(data.path(), &ONE_LOOK).await.unwrap();
        let expected: BTreeSet<_> = damage.seen_by.iter().copied().collect();
        if violated(&report) != expected {
            let found: Vec<_> = report.checks.iter().filter(|check| !check.is_clean()).map(|c| c.to_string()).collect();
            wrong.push(format!("{}: expected {expected:?}, found\n  {}", damage.story, found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_is_no_check_that_cannot_fail() {
    let seen: BTreeSet<_> = damage::ALL.iter().copied().flatten().flat_map(|damage| damage.seen_by).copied().collect();
    let names: Vec<_> = std::iter::once("files").chain(all().into_iter().map(|check| check.name)).collect();
    let distinct: BTreeSet<_> = names.iter().copied().collect();
    assert_eq!(names.len(), distinct.len(), "names tell checks apart");
    assert_eq!(seen, distinct);
    let long: Vec<_> = all().into_iter().map(|check| check.title).filter(|title| title.len() > report::TITLE).collect();
    assert!(long.is_empty(), "no line of the report is out of line: {long:?}");
}

#[tokio::test]
async fn what_is_on_its_way_between_files_is_not_judged_yet() {
    let (data, ids) = kept_shop().await;
    let broken = "delete from saga where id = ':bob'; update saga set status = 'COMPENSATED', direction = 'BACKWARD',
                  cause = '{}', journal = (select f.journal from saga f where f.id = ':fay') where id = ':dan'";
    execute(data.path(), spillway_orchestrator::DATABASE, &about(broken, &ids)).await;
    let report = run_with(data.path(), &ONE_LOOK).await.unwrap();
    assert_eq!(violated(&report), BTreeSet::from(["saga-sides", "order-sagas"]));

    let later = SystemClock.now().saturating_add(Duration::from_secs(60)).as_micros();
    let just_now = format!("update saga set updated = {later} where id = ':dan'");
    execute(data.path(), spillway_orchestrator::DATABASE, &about(&just_now, &ids)).await;
    let just_now = format!("update orders set created_at = {later} where order_id = ':bob'");
    execute(data.path(), spillway_order::DATABASE, &about(&just_now, &ids)).await;
    let report = run_with(data.path(), &ONE_LOOK).await.unwrap();
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn what_the_next_look_does_not_find_again_was_no_violation() {
    let (data, _) = kept_shop().await;
    let (at, file) = (data.path().to_owned(), spillway_payment::SANDBOX_DATABASE);
    execute(&at, file, "update charge set state = 'AUTHORIZED' where state = 'CAPTURED'").await;
    let patient = Options { looks: 2, pause: Duration::from_secs(2), ..ONE_LOOK };
    let mended = async {
        // The first look takes some milliseconds; it is over long before.
        tokio::time::sleep(Duration::from_secs(1)).await;
        execute(&at, file, "update charge set state = 'CAPTURED' where state = 'AUTHORIZED' and amount <> 1400").await;
    };
    let (report, ()) = tokio::join!(run_with(&at, &patient), mended);
    assert!(report.as_ref().unwrap().is_clean(), "{}", report.unwrap());

    execute(&at, file, "update charge set state = 'AUTHORIZED' where state = 'CAPTURED'").await;
    let stubborn = Options { looks: 3, pause: Duration::from_millis(1), ..ONE_LOOK };
    let report = run_with(&at, &stubborn).await.unwrap();
    assert_eq!(violated(&report), BTreeSet::from(["provider-charges"]));
}

#[tokio::test]
async fn a_shop_that_is_open_can_be_judged() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::open(&Places::in_directory(directory.path())).await;
    let empty = run_with(directory.path(), &ONE_LOOK).await.unwrap();
    assert!(empty.is_clean(), "{empty}");
    assert!(empty.to_string().contains("nothing to judge: no items"), "{empty}");
    shop.trade().await;
    let report = run_with(directory.path(), &ONE_LOOK).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.notes.iter().any(|note| note.contains("events of order are not published yet")), "{report}");
}

#[tokio::test]
async fn a_platform_without_the_sandbox_is_judged_without_it() {
    let (data, _) = kept_shop().await;
    fs::remove_file(data.path().join(spillway_payment::SANDBOX_DATABASE)).unwrap();
    let report = run_with(data.path(), &ONE_LOOK).await.unwrap();
    assert!(report.is_clean(), "{report}");
    assert!(report.notes.iter().any(|note| note.contains("no sandbox provider's journal")), "{report}");
}

#[tokio::test]
async fn a_torn_file_is_found_out_whatever_page_is_torn() {
    let (sound, _) = kept_shop().await;
    let length = fs::metadata(sound.path().join(spillway_inventory::DATABASE)).unwrap().len();
    let pages = length / PAGE;
    assert!(pages > 10, "{pages}");
    let mut unreadable = 0;
    // The first page is the header and the schema: without it there is no database.
    for page in 1..pages {
        let data = copy(sound.path());
        let mut file = fs::File::options().write(true).open(data.path().join(spillway_inventory::DATABASE)).unwrap();
        file.seek(SeekFrom::Start(page * PAGE)).unwrap();
        file.write_all(&[0xA5; 512]).unwrap();
        drop(file);
        match run_with(data.path(), &ONE_LOOK).await {
            Ok(report) => assert!(violated(&report).contains("files"), "page {page}: {report}"),
            // The schema goes on on that page: the file cannot even be opened.
            Err(error) => {
                assert!(matches!(error, VerifyError::Open { .. }), "page {page}: {error}");
                unreadable += 1;
            }
        }
    }
    assert!(unreadable < pages / 2, "{unreadable} of {pages}");
}

#[tokio::test]
async fn a_directory_that_is_none_of_ours_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let error = run(directory.path()).await.unwrap_err();
    assert!(matches!(&error, VerifyError::Missing(path) if path.ends_with(spillway_inventory::DATABASE)), "{error}");
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing is created");
}

#[tokio::test]
async fn a_violation_is_told_with_its_row_to_people_and_to_machines() {
    let (data, ids) = kept_shop().await;
    let damage = "update item set on_hand = on_hand + 1, available = available + 1";
    execute(data.path(), spillway_inventory::DATABASE, &about(damage, &ids)).await;
    let report = run_with(data.path(), &Options { rows_max: 1, ..ONE_LOOK }).await.unwrap();
    let check = report.checks.iter().find(|check| check.name == "item-journal").unwrap();
    assert_eq!((check.violated, check.violations.len()), (2, 1));
    let text = report.to_string();
    assert!(text.contains("VIOLATED         2 rows, 2 items\n"), "{text}");
    assert!(text.contains("sku: MUG  on_hand: 9  moved_on_hand: 8"), "{text}");
    assert!(text.contains("and 1 more") && text.ends_with("1 VIOLATED"), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    let row = json["checks"].as_array().unwrap().iter().find(|check| check["name"] == "item-journal").unwrap();
    assert_eq!((&row["id"], &row["violations"][0]["on_hand"]), (&"I1".into(), &9.into()));
}
