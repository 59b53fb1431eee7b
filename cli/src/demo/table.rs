//! What is printed at the end. In: an event and what the clients saw. Out: a table.

use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::clients::Summary;

/// Columns where there is no terminal to ask.
const WIDTH: u16 = 120;

/// One event of the story.
pub struct Row {
    /// What happened.
    pub event: String,
    /// What the clients saw of it.
    pub seen: Summary,
    /// What became of it, in words.
    pub outcome: String,
}

/// The whole story.
pub fn draw(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(table.width().unwrap_or(WIDTH));
    table.set_header([
        "event",
        "requests",
        "failed",
        "sessions cut",
        "longest without service",
        "what became of it",
    ]);
    for column in 1..=4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows {
        table.add_row([
            row.event.clone(),
            row.seen.requests.to_string(),
            row.seen.failed.to_string(),
            row.seen.cut.to_string(),
            in_ms(row.seen.longest_without),
            row.outcome.clone(),
        ]);
    }
    table
}

fn in_ms(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}
