//! Prime time: when clients go back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::common::schema;

/// The calendar at whose starts clients go back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// A name of the time zone database, such as Europe/London.
    #[serde(default = "default_time_zone")]
    #[schemars(schema_with = "schema::time_zone")]
    pub time_zone: String,

    /// When prime time starts.
    #[schemars(length(min = 1, max = 32))]
    pub starts: Vec<Start>,

    /// Days without a start, as YYYY-MM-DD in the time zone.
    #[serde(default)]
    #[schemars(schema_with = "schema::dates")]
    pub except: Vec<String>,
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

/// One start of prime time, on some days of the week.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// Days of the week.
    #[schemars(length(min = 1, max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub days: Vec<Weekday>,

    /// Time of day, as HH:MM or HH:MM:SS. Quote it: YAML 1.1 reads a bare 17:00 as a number.
    #[schemars(schema_with = "schema::time_of_day")]
    pub at: String,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "they say it themselves")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}
