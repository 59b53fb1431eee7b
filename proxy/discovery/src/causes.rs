//! What an error says. In: an error. Out: its words and those of all its causes.

/// An error with its causes: tonic's outermost one only says "transport error".
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.ends_with(&text) {
            words = format!("{words}: {text}");
        }
        cause = next.source();
    }
    words
}
