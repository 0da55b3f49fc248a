//! The rows that one batch touches, in memory.
//!
//! Commands of a batch see each other's changes here; at the end, [`Tracked::inserted`] and [`Tracked::updated`] say
//! what has to be written. Keys are ordered, so that rows are locked and written in one order everywhere.

use std::collections::BTreeMap;

/// Rows by key, with what became of each since it was loaded.
#[derive(Clone, Debug)]
pub struct Tracked<K, V> {
    rows: BTreeMap<K, Row<V>>,
}

#[derive(Clone, Debug)]
struct Row<V> {
    value: V,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Loaded,
    Inserted,
    Updated,
}

// === impl Tracked ===

impl<K: Ord, V> Tracked<K, V> {
    /// Rows as they were loaded.
    pub fn loaded(rows: impl IntoIterator<Item = (K, V)>) -> Self {
        let rows = rows.into_iter().map(|(key, value)| (key, Row { value, fate: Fate::Loaded })).collect();
        Self { rows }
    }

    /// The row as the batch has left it so far.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.rows.get(key).map(|row| &row.value)
    }

    /// Writes a row: an insert when there was none at load, else an update.
    pub fn put(&mut self, key: K, value: V) {
        match self.rows.get_mut(&key) {
            Some(row) => {
                row.value = value;
                if row.fate == Fate::Loaded {
                    row.fate = Fate::Updated;
                }
            }
            None => {
                self.rows.insert(key, Row { value, fate: Fate::Inserted });
            }
        }
    }

    /// Every row, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().map(|(key, row)| (key, &row.value))
    }

    /// Rows that were absent at load, in key order.
    pub fn inserted(&self) -> impl Iterator<Item = (&K, &V)> {
        self.with(Fate::Inserted)
    }

    /// Rows that were loaded and changed, in key order.
    pub fn updated(&self) -> impl Iterator<Item = (&K, &V)> {
        self.with(Fate::Updated)
    }

    fn with(&self, fate: Fate) -> impl Iterator<Item = (&K, &V)> {
        self.rows.iter().filter(move |(_, row)| row.fate == fate).map(|(key, row)| (key, &row.value))
    }
}

impl<K: Ord, V> Default for Tracked<K, V> {
    fn default() -> Self {
        Self { rows: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_written_once_however_often_the_batch_changes_it() {
        let mut rows = Tracked::loaded([("kept", 1), ("changed", 2)]);
        for value in 3..6 {
            rows.put("changed", value);
            rows.put("new", value);
        }
        assert_eq!(rows.inserted().collect::<Vec<_>>(), [(&"new", &5)]);
        assert_eq!(rows.updated().collect::<Vec<_>>(), [(&"changed", &5)]);
        assert_eq!((rows.get(&"kept"), rows.get(&"absent")), (Some(&1), None));
    }
}
