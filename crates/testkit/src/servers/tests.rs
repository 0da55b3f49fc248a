use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::{Postgres, RedisServer, postgres};
use crate::proxy::{Direction, Fault, Proxy};

/// Long enough for a live server to answer on a busy machine, short beside a test.
const SILENCE: Duration = Duration::from_millis(500);

async fn count(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("select count(*) from fact").fetch_one(connection).await
}

#[tokio::test]
async fn fresh_databases_are_empty_and_apart() {
    let postgres = postgres().await;
    let (one, other) = tokio::join!(postgres.fresh("Apart, one!"), postgres.fresh("apart"));
    assert_ne!(one, other);
    for url in [one, other] {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::query("create table fact (id bigint)").execute(&mut connection).await.unwrap();
        assert_eq!(count(&mut connection).await.unwrap(), 0, "{url}");
    }
}

#[tokio::test]
async fn databases_of_the_living_are_no_orphans() {
    let postgres = postgres().await;
    let url = postgres.fresh("living").await;
    postgres.drop_orphans().await;
    PgConnection::connect(&url).await.unwrap();
}

#[tokio::test]
async fn a_killed_postgres_comes_back_with_what_it_had_committed() {
    let postgres = Postgres::private().await;
    let url = postgres.fresh("kill").await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::query("create table fact (id bigint)").execute(&mut connection).await.unwrap();
    sqlx::query("insert into fact select generate_series(1, 1000)").execute(&mut connection).await.unwrap();
    postgres.kill().await;
    let refused = PgConnection::connect(&url).await;
    assert!(refused.is_err(), "nobody listens after a kill");
    assert!(count(&mut connection).await.is_err(), "its sessions are gone");
    postgres.restart().await;
    let mut connection = PgConnection::connect(&url).await.unwrap();
    assert_eq!(count(&mut connection).await.unwrap(), 1000);
}

#[tokio::test]
async fn a_frozen_postgres_is_silent_until_it_thaws() {
    let postgres = Postgres::private().await;
    let mut connection = PgConnection::connect(postgres.url()).await.unwrap();
    postgres.freeze().await;
    let mut ask = Box::pin(sqlx::query_scalar::<_, i32>("select 1").fetch_one(&mut connection));
    assert!(tokio::time::timeout(SILENCE, &mut ask).await.is_err(), "frozen, and answers");
    let connect = tokio::time::timeout(SILENCE, PgConnection::connect(postgres.url())).await;
    assert!(connect.is_err(), "frozen, and takes sessions");
    postgres.thaw().await;
    assert_eq!(ask.await.unwrap(), 1);
}

#[tokio::test]
async fn a_promoted_replica_lacks_what_did_not_reach_it() {
    let (master, replica) = tokio::join!(RedisServer::private(), RedisServer::private());
    let link = Proxy::to(master.address()).await.unwrap();
    master.command("SET early 1").await.unwrap();
    replica.replica_of(link.address()).await;
    assert_eq!(replica.command("EXISTS early").await.unwrap(), "1");
    let read_only = replica.command("SET early 2").await.unwrap_err().to_string();
    assert!(read_only.contains("READONLY"), "{read_only}");
    link.set(Direction::Down, Fault::Hole);
    master.command("SET late 1").await.unwrap();
    replica.promote().await;
    assert_eq!(replica.command("EXISTS late").await.unwrap(), "0");
    assert_eq!(replica.command("SET later 1").await.unwrap(), "OK");
}

#[tokio::test]
async fn an_emptied_redis_and_a_restarted_one_have_nothing() {
    let redis = RedisServer::private().await;
    for empty in ["flushed", "restarted"] {
        redis.command("SET key value").await.unwrap();
        match empty {
            "flushed" => redis.flushall().await,
            _ => {
                redis.kill().await;
                assert!(redis.command("PING").await.is_err(), "killed, and answers");
                redis.restart().await;
            }
        }
        assert_eq!(redis.command("DBSIZE").await.unwrap(), "0", "{empty}");
    }
}

#[tokio::test]
async fn a_frozen_redis_is_silent_until_it_thaws() {
    let redis = RedisServer::private().await;
    redis.freeze().await;
    let mut ping = Box::pin(redis.command("PING"));
    assert!(tokio::time::timeout(SILENCE, &mut ping).await.is_err(), "frozen, and answers");
    redis.thaw().await;
    assert_eq!(ping.await.unwrap(), "PONG");
}
