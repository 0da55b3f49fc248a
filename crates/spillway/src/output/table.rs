//! Aligned columns.

use std::fmt;

/// Space between two columns.
const GAP: &str = "  ";

/// Rows of `N` cells under their headings. Columns whose heading begins with `>` are aligned to the right.
#[derive(Clone, Debug)]
pub(crate) struct Table<const N: usize> {
    headings: [&'static str; N],
    rows: Vec<[String; N]>,
}

// === impl Table ===

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub(crate) const fn new(headings: [&'static str; N]) -> Self {
        Self { headings, rows: Vec::new() }
    }

    /// The same with rows.
    #[must_use]
    pub(crate) fn rows(mut self, rows: impl IntoIterator<Item = [String; N]>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// The table, or `nothing` when it has no rows.
    pub(crate) fn or(&self, nothing: &str) -> String {
        if self.rows.is_empty() { nothing.to_owned() } else { self.to_string() }
    }
}

impl<const N: usize> fmt::Display for Table<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = self.headings.map(|heading| heading.trim_start_matches('>').to_owned());
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let widths: [usize; N] =
            std::array::from_fn(|column| lines().map(|cells| cells[column].chars().count()).max().unwrap_or(0));
        for cells in lines() {
            let mut line = String::new();
            for ((cell, width), heading) in cells.iter().zip(widths).zip(self.headings) {
                let cell = if heading.starts_with('>') { format!("{cell:>width$}") } else { format!("{cell:width$}") };
                line.push_str(&cell);
                line.push_str(GAP);
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["TEE", "5"], ["SNEAKER-RED", "1200"]].map(|row| row.map(str::to_owned));
        let table = Table::new(["SKU", ">LEFT"]).rows(rows);
        assert_eq!(table.to_string(), "SKU          LEFT\nTEE             5\nSNEAKER-RED  1200\n");
        assert_eq!(Table::<2>::new(["SKU", ">LEFT"]).or("nothing there"), "nothing there");
    }
}
