//! The values as a table. In: values.yaml, where each comment stands above the key it is about. Out: a row per key, in the file's
//! order.

/// One value, or a section of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Keys from the top, joined by dots.
    pub path: String,
    /// As it stands in the file; none for a section.
    pub default: Option<String>,
    /// The comment.
    pub about: String,
}

/// The rows of the file.
///
/// # Errors
/// A line is no comment and no `key: value`, or a key has no comment; the message names the line.
pub fn rows(yaml: &str) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut above: Vec<(usize, &str)> = Vec::new();
    let mut comment: Vec<&str> = Vec::new();
    for (number, line) in yaml.lines().enumerate() {
        let text = line.trim();
        let wrong = |why: &str| format!("values.yaml:{}: {why}: {line}", number + 1);
        if text.is_empty() {
            comment.clear();
            continue;
        }
        if let Some(words) = text.strip_prefix('#') {
            comment.push(words.trim());
            continue;
        }
        let (key, rest) = text
            .split_once(':')
            .ok_or_else(|| wrong("neither a comment nor `key: value` on one line"))?;
        if comment.is_empty() {
            return Err(wrong("no comment stands above this key"));
        }
        let indent = line.len() - line.trim_start().len();
        above.retain(|&(of, _)| of < indent);
        let parents = above.iter().map(|&(_, key)| key);
        let path: Vec<&str> = parents.chain([key]).collect();
        let default = rest.trim();
        rows.push(Row {
            path: path.join("."),
            default: (!default.is_empty()).then(|| default.to_owned()),
            about: comment.join(" "),
        });
        comment.clear();
        above.push((indent, key));
    }
    Ok(rows)
}

/// As Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = String::from("| value | default | |\n| --- | --- | --- |\n");
    for row in rows {
        let about = row.about.replace('|', "\\|");
        let (path, default) = match &row.default {
            Some(default) => (
                format!("`{}`", row.path),
                format!("`{}`", default.replace('|', "\\|")),
            ),
            None => (format!("**`{}`**", row.path), String::new()),
        };
        table.push_str(&format!("| {path} | {default} | {about} |\n"));
    }
    table
}
