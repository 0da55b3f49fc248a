-- Leases are for replicas that share a log. This file belongs to one process, which drives every saga; its epoch is in
-- `epoch`. What comes with the leases is that any caller's word for a saga is left in its row: `wakeup` is 0 then, in
-- whatever status, and an owner looks for it.
create index saga_wakeup_ix on saga (wakeup) where wakeup is not null;
