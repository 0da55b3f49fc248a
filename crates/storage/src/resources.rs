//! What a service is opened with: where its state goes, who hears of its events, what time it is.

use std::{fmt, path::PathBuf, sync::Arc};

use spillway_types::{Clock, SystemClock};

use crate::{
    DataConfig, StoreError,
    bus::{Bus, InProcessBus, RedisBus, Unconnected},
    metrics,
    redis::Redis,
};

/// Everything around a service that keeps or carries state. Services of one process share it.
#[derive(Clone)]
pub struct Resources {
    /// Where databases are.
    pub data: DataConfig,
    /// Where events go to and come from.
    pub bus: Arc<dyn Bus>,
    /// The Redis server that replicas share, if there is one.
    pub redis: Option<Redis>,
    /// The clock of whatever has no database server to ask.
    pub clock: Arc<dyn Clock>,
}

// === impl Resources ===

impl Resources {
    /// For services that share one process, with their files in one directory and a bus between them.
    pub fn embedded(data: DataConfig) -> Self {
        Self { data, bus: Arc::new(InProcessBus::default()), redis: None, clock: Arc::new(SystemClock) }
    }

    /// For a service that is a process of its own: what it shares with its replicas and with other services is where the
    /// settings say.
    ///
    /// # Errors
    /// When a setting does not make sense together with what it names.
    pub fn connected(data: DataConfig) -> Result<Self, StoreError> {
        let redis = match data.redis.url.as_str() {
            "" => None,
            _ => Some(Redis::new(&data.redis).map_err(|error| StoreError::Unfit(error.to_string()))?),
        };
        let bus: Arc<dyn Bus> = match &redis {
            Some(redis) => {
                let bus = RedisBus::new(redis.clone());
                metrics::watch_redis(redis, &bus);
                Arc::new(bus)
            }
            None => Arc::new(Unconnected),
        };
        Ok(Self { data, bus, redis, clock: Arc::new(SystemClock) })
    }

    /// As [`Self::embedded`], with every other setting of `[data]` at its default.
    pub fn in_directory(dir: impl Into<PathBuf>) -> Self {
        Self::embedded(DataConfig::in_directory(dir))
    }

    /// The same with another clock.
    #[must_use]
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The same with another bus.
    #[must_use]
    pub fn with_bus(self, bus: Arc<dyn Bus>) -> Self {
        Self { bus, ..self }
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resources").field("data", &self.data).finish_non_exhaustive()
    }
}
