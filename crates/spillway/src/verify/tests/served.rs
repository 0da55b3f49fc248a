//! Shops in Postgres: the same checks, over snapshots.

use spillway_payment::clients::sandbox::Sandbox;
use spillway_storage::{
    DataConfig, Resources,
    database::{Database, DatabaseUrl},
};
use spillway_testkit::servers;
use sqlx::{Connection, PgConnection};

use super::*;
use crate::{config::Settings, verify::places::Place};

/// Services with a database each; the sandbox has its books in payment's.
const SERVICES: [&str; 5] = ["inventory", "order", "payment", "fulfilment", "orchestrator"];

/// What Postgres says of a value that is none of its column's type: damage that cannot be there.
const NOT_OF_THE_TYPE: &str = "22P02";

/// Rules that damage goes past.
const GUARDS: &str = "
    select format('alter table %s drop constraint %I', conrelid::regclass, conname)
      from pg_constraint
     where connamespace = current_schema()::regnamespace and contype in ('c', 'f') and conrelid <> 0
    union all
    select format('drop trigger %I on %s', tgname, tgrelid::regclass) from pg_trigger t
      join pg_class c on c.oid = t.tgrelid
     where c.relnamespace = current_schema()::regnamespace and not tgisinternal";

/// A platform's databases on a server, with their schemas and nothing in them.
struct Served {
    places: Places,
    _directory: TempDir,
}

impl Served {
    async fn fresh() -> Self {
        let (server, directory) = (servers::postgres().await, tempfile::tempdir().unwrap());
        let mut set = vec![("data.dir".to_owned(), directory.path().display().to_string())];
        for service in SERVICES {
            set.push((format!("{service}.database"), server.fresh(service).await));
        }
        let settings = Settings::load(None, &set).unwrap();
        let places = Places::of(&settings);
        let resources = Resources::embedded(DataConfig::in_directory(directory.path()));
        for place in places.all.iter().filter(|place| !place.optional) {
            Database::migrate(&place.url, &places.data, place.tables).await.unwrap();
        }
        Sandbox::migrate(&settings.payment.sandbox_database(), &resources).await.unwrap();
        Self { places, _directory: directory }
    }

    fn place(&self, file: &str) -> &Place {
        self.places.all.iter().find(|place| place.tables.file == file).unwrap()
    }

    async fn connect(&self, file: &str) -> PgConnection {
        let DatabaseUrl::Postgres(options) = &self.place(file).url else { panic!("{file} is in Postgres") };
        PgConnection::connect_with(options).await.unwrap()
    }

    async fn execute(&self, file: &str, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        sqlx::raw_sql(sql).execute(&mut self.connect(file).await).await.unwrap();
    }

    /// Takes off whatever would refuse damage.
    async fn without_guards(self) -> Self {
        for file in FILES {
            let guards: Vec<String> =
                sqlx::query_scalar(GUARDS).fetch_all(&mut self.connect(file).await).await.unwrap();
            self.execute(file, &guards.join(";")).await;
        }
        self
    }

    /// Makes the databases hold what the files in `data` do; says whether they can.
    async fn fill(&self, data: &Path) -> bool {
        for file in FILES {
            let (mut from, mut to) = (connect(data, file).await, self.connect(file).await);
            let tables = "select name from sqlite_schema where type = 'table' and name not like '%sql%'";
            let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut from).await.unwrap();
            for table in tables.iter().filter(|table| mentioned(self.place(file).schema, table)) {
                let columns: Vec<String> = sqlx::query_scalar("select name from pragma_table_info(?1)")
                    .bind(table)
                    .fetch_all(&mut from)
                    .await
                    .unwrap();
                let pairs: Vec<_> = columns.iter().map(|name| format!("'{name}', \"{name}\"")).collect();
                let sql = format!(
                    "select coalesce(json_group_array(json_object({})), '[]') from \"{table}\"",
                    pairs.join(",")
                );
                let rows: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut from).await.unwrap();
                let names = columns.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(",");
                let empty = AssertSqlSafe(format!("truncate \"{table}\" cascade"));
                sqlx::raw_sql(empty).execute(&mut to).await.unwrap();
                let sql = format!(
                    "insert into \"{table}\" ({names}) overriding system value
                     select {names} from json_populate_recordset(null::\"{table}\", $1::json)"
                );
                match sqlx::query(AssertSqlSafe(sql)).bind(rows).execute(&mut to).await {
                    Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(NOT_OF_THE_TYPE) => {
                        return false;
                    }
                    filled => drop(filled.unwrap()),
                }
            }
        }
        true
    }

    async fn judge(&self, options: &Options) -> Report {
        run_on(self.places.clone(), options).await.unwrap()
    }
}

#[tokio::test]
async fn damage_in_postgres_is_seen_as_it_is_in_files() {
    let (sound, ids) = kept_shop().await;
    let served = Served::fresh().await.without_guards().await;
    assert!(served.fill(sound.path()).await);
    let report = served.judge(&ONE_LOOK).await;
    assert!(report.is_clean(), "{report}");
    let idle: Vec<_> = report.checks.iter().filter(|check| check.looked_at == 0).map(|check| check.name).collect();
    assert!(idle.is_empty(), "{idle:?}\n{report}");

    let (mut wrong, mut unseen) = (Vec::new(), all().into_iter().map(|check| check.name).collect::<BTreeSet<_>>());
    for damage in damage::ALL.iter().copied().flatten() {
        // One of each kind is enough here: the statements are the same.
        if !damage.seen_by.iter().any(|check| unseen.contains(check)) {
            continue;
        }
        let data = copy(sound.path());
        for (file, sql) in damage.done {
            execute(data.path(), file, &about(sql, &ids)).await;
        }
        if !served.fill(data.path()).await {
            continue;
        }
        let report = served.judge(&ONE_LOOK).await;
        let expected: BTreeSet<_> = damage.seen_by.iter().copied().collect();
        unseen.retain(|check| !expected.contains(check));
        if violated(&report) != expected {
            let found: Vec<_> = report.checks.iter().filter(|check| !check.is_clean()).map(|c| c.to_string()).collect();
            wrong.push(format!("{}: expected {expected:?}, found\n  {}", damage.story, found.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unseen.is_empty(), "no damage that Postgres can hold is seen by {unseen:?}");
}

#[tokio::test]
async fn a_shop_that_the_services_keep_in_postgres_passes_and_every_check_has_something_to_judge() {
    let served = Served::fresh().await;
    let leases = "insert into replica values (gen_random_uuid(), 'here', 9000000000000000);
                  update lease set epoch = 1, holder = (select id from replica)";
    served.execute(spillway_orchestrator::DATABASE, leases).await;
    let shop = Shop::open(&served.places).await;
    shop.trade().await;
    let news = "select event_id, key, payload::json ->> 'order_state' from outbox order by position";
    let rows = sqlx::query(news).fetch_all(&mut served.connect(spillway_fulfilment::DATABASE).await).await.unwrap();
    let news = rows.iter().filter_map(|row| {
        let event_id = row.get::<sqlx::types::Uuid, _>(0).to_string().parse().unwrap();
        let order_id = row.get::<&str, _>(1).parse().unwrap();
        Progress::from_order_state(row.get(2)).map(|progress| News { event_id, order_id, progress })
    });
    shop.follow(news.collect()).await;
    for file in FILES.into_iter().filter(|file| *file != spillway_payment::SANDBOX_DATABASE) {
        served.execute(file, "update outbox set published_at = occurred_at").await;
    }
    // All of it was just now: what is judged is what has been quiet for a millisecond.
    let quick = Options { quiet: Duration::from_millis(1), ..ONE_LOOK };
    let report = served.judge(&quick).await;
    assert!(report.is_clean(), "{report}");
    let idle: Vec<_> = report.checks.iter().filter(|check| check.looked_at == 0).map(|check| check.name).collect();
    assert!(idle.is_empty(), "{idle:?}\n{report}");
    let told = report.to_string();
    assert!(told.contains("rows of postgres://") && told.contains("databases are sound"), "{told}");
}

#[tokio::test]
async fn another_look_takes_another_snapshot() {
    let (sound, _) = kept_shop().await;
    let served = Served::fresh().await.without_guards().await;
    assert!(served.fill(sound.path()).await);
    let file = spillway_payment::SANDBOX_DATABASE;
    served.execute(file, "update charge set state = 'AUTHORIZED' where state = 'CAPTURED'").await;
    let report = served.judge(&ONE_LOOK).await;
    assert_eq!(violated(&report), BTreeSet::from(["provider-charges"]));

    let patient = Options { looks: 2, pause: Duration::from_secs(4), ..ONE_LOOK };
    let mended = async {
        // Until the first look has its snapshot, and before the second one takes another.
        let looking = "select count(*) from pg_stat_activity where application_name = 'spillway verify'
                          and datname = current_database() and state <> 'active'";
        let mut connection = served.connect(file).await;
        loop {
            let looking: i64 = sqlx::query_scalar(looking).fetch_one(&mut connection).await.unwrap();
            if looking > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        served
            .execute(file, "update charge set state = 'CAPTURED' where state = 'AUTHORIZED' and amount <> 1400")
            .await;
    };
    let (report, ()) = tokio::join!(served.judge(&patient), mended);
    assert!(report.is_clean(), "{report}");
}

#[tokio::test]
async fn a_rule_that_the_server_calls_invalid_is_told() {
    let served = Served::fresh().await;
    let rule = "alter table item add constraint item_some_ck check (on_hand >= 0) not valid";
    served.execute(spillway_inventory::DATABASE, rule).await;
    let report = served.judge(&ONE_LOOK).await;
    assert_eq!(violated(&report), BTreeSet::from(["files"]));
    assert!(report.to_string().contains("constraint item_some_ck of item is not validated"), "{report}");
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_migrated_is_named() {
    let served = Served::fresh().await;
    served.execute(spillway_order::DATABASE, "alter table orders rename to orders_once").await;
    let error = run_on(served.places.clone(), &ONE_LOOK).await.unwrap_err();
    assert!(matches!(error, VerifyError::Lacks { .. }) && error.to_string().contains("--migrate"), "{error}");

    let mut gone = served.places.clone();
    gone.all[0].url = "postgres://nobody@127.0.0.1:1/nothing".parse().unwrap();
    let error = run_on(gone, &ONE_LOOK).await.unwrap_err();
    assert!(error.to_string().starts_with("cannot read postgres://nobody@127.0.0.1:1/nothing"), "{error}");
}
