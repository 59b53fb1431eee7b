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

    /// What was answered since then, in order.
    ///
    /// # Panics
    /// When a whole line is no entry.
    pub fn since(&self, mark: Mark) -> Vec<Entry> {
        let mut text = String::new();
        let Ok(mut file) = File::open(&self.file) else {
            return Vec::new(); // nothing has been asked yet
        };
        file.seek(SeekFrom::Start(mark.0)).expect("a file");
        file.read_to_string(&mut text).expect("a file of text");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let entry = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("audit log: {e}: {line}"));
        whole.lines().map(entry).collect()
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
