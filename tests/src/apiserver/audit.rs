//! Who has asked the API server for what. In: its audit log. Out: entries
//! since a mark, and the writes among them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Deserialize;

/// One entry per request, when it has been answered.
pub(super) const POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules: [{level: Metadata}]
";

/// The audit log.
pub struct Audit {
    file: PathBuf,
}

/// A place in the log: what is written after it is new.
#[derive(Clone, Copy, Debug)]
pub struct Mark(u64);

/// One answered request.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub uri: String,
    /// Who asked.
    pub user: Asker,
    /// What it was about; nothing for paths that name no object.
    #[serde(default)]
    pub object_ref: ObjectRef,
    /// The answer.
    #[serde(default)]
    pub response_status: Answer,
    /// When it came.
    #[serde(rename = "requestReceivedTimestamp")]
    pub came: Timestamp,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct Asker {
    /// The user's name, as [`super::User::name`] has it.
    pub username: String,
}

/// What a request was about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ObjectRef {
    /// Plural name.
    pub resource: String,
    /// `status` and the like, or empty.
    pub subresource: String,
    /// Empty for what is in none.
    pub namespace: String,
    /// Empty for lists.
    pub name: String,
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
}

impl Entry {
    /// Whether it asked for something to be changed. Reviews of tokens and of
    /// access are creations that change nothing; so is a dry run.
    pub fn is_write(&self) -> bool {
        let writes = ["create", "update", "patch", "delete", "deletecollection"];
        let reviews = ["tokenreviews", "subjectaccessreviews", "selfsubjectaccessreviews"];
        writes.contains(&self.verb.as_str())
            && !reviews.contains(&self.object_ref.resource.as_str())
            && !self.uri.contains("dryRun=All")
    }

    /// In one line: who did what, and what was the answer.
    pub fn line(&self) -> String {
        format!(
            "{} {} {}: {}",
            self.user.username, self.verb, self.uri, self.response_status.code
        )
    }
}

impl Audit {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file }
    }

    /// The end of the log, now.
    pub fn mark(&self) -> Mark {
        Mark(std::fs::metadata(&self.file).map_or(0, |file| file.len()))
    }

    /// What was answered since then, in order. A line that was being written at that moment is about a request that had been
    /// answered.
    ///
    /// # Panics
    /// When a whole line is no entry.
    pub fn since(&self, mark: Mark) -> Vec<Entry> {
        let Ok(mut file) = File::open(&self.file) else {
            return Vec::new(); // nothing has been asked yet
        };
        // with the byte before it, which ends a line or is in the midst of one
        file.seek(SeekFrom::Start(mark.0.saturating_sub(1)))
            .expect("a file");
        let mut text = Vec::new();
        file.read_to_end(&mut text).expect("a file");
        let lines = whole_lines(&text, mark.0 == 0);
        let lines = std::str::from_utf8(lines).expect("a file of text").lines();
        let entry = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("audit log: {e}: {line}"));
        lines.map(entry).collect()
    }

    /// Writes of this user since then. Leases are left out: whoever leads
    /// renews one for as long as it leads.
    ///
    /// # Panics
    /// As [`Audit::since`].
    pub fn writes(&self, user: &str, since: Mark) -> Vec<Entry> {
        let wanted = |entry: &Entry| {
            entry.user.username == user && entry.is_write() && entry.object_ref.resource != "leases"
        };
        self.since(since).into_iter().filter(wanted).collect()
    }

    /// Requests that were refused for want of a right (403) since then.
    ///
    /// # Panics
    /// As [`Audit::since`].
    pub fn forbidden(&self, user: &str, since: Mark) -> Vec<Entry> {
        let wanted = |entry: &Entry| entry.user.username == user && entry.response_status.code == 403;
        self.since(since).into_iter().filter(wanted).collect()
    }
}

/// Those that begin and end in `text`. Its first byte is of the line before, unless it is `all` that there is.
fn whole_lines(text: &[u8], all: bool) -> &[u8] {
    let newline = |byte: &u8| *byte == b'\n';
    let begin = if all {
        Some(0)
    } else {
        text.iter().position(newline).map(|at| at + 1)
    };
    let end = text.iter().rposition(newline).map(|at| at + 1);
    begin
        .zip(end)
        .and_then(|(begin, end)| text.get(begin..end))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_being_written_is_none() {
        for (text, all, lines) in [
            ("a\nb\n", true, "a\nb\n"),
            ("\nb\nc\n", false, "b\nc\n"),
            ("st of a\nb\nc", false, "b\n"),
            ("st of a\n", false, ""),
            ("a", true, ""),
            ("", false, ""),
        ] {
            let whole = whole_lines(text.as_bytes(), all);
            assert_eq!(whole, lines.as_bytes(), "{text:?}");
        }
    }
}
