-- Which replica drives which sagas. Written by the keeper of leases in each replica, twice a second; every transaction of
-- the saga log locks the leases that it works under `for share` and compares their epochs (invariants I8 and I12).

-- One row a replica that lives. Its renewal is one write, however many partitions it holds. One that lapsed is deleted by
-- whoever takes its partitions, and then finds no row to renew. Pages keep room: renewals touch no index.
create table replica (
    id         uuid   not null, -- a process draws a new one each time it joins
    address    text   not null, -- where it is reached, for people
    expires_at bigint not null, -- microseconds since the Unix epoch, by this database's clock
    constraint replica_pk primary key (id)
) with (fillfactor = 20);

-- One row a partition, all of them from the beginning. A lease is vacant when nobody holds it who lives; no foreign key,
-- since a deleted replica would have to wait here for the locks of a frozen one's transactions.
create table lease (
    partition smallint not null, -- the tenth byte of a saga's id
    holder    uuid,              -- the replica
    epoch     bigint   not null, -- raised at every taking and every release
    constraint lease_pk primary key (partition),
    constraint lease_partition_ck check (partition between 0 and 255),
    constraint lease_epoch_ck check (epoch >= 0)
) with (fillfactor = 50);

insert into lease (partition, epoch) select partition, 0 from generate_series(0, 255) as partition;
