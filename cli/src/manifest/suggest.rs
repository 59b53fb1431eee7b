//! "Did you mean …?"

/// The known name that was probably meant, if one is near: another case, or one or two slips of the finger.
pub fn suggestion<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_lowercase();
    let allowed = (written.chars().count() / 3).clamp(1, 2);
    known
        .map(|name| (strsim::damerau_levenshtein(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let known = ["port", "proxyProtocol", "hostnames", "tls"];
        for (written, meant) in [
            ("prot", Some("port")),
            ("proxyprotocol", Some("proxyProtocol")),
            ("hostname", Some("hostnames")),
            ("TLS", Some("tls")),
            ("weight", None),
            ("x", None),
        ] {
            assert_eq!(suggestion(written, known.into_iter()), meant, "{written}");
        }
    }
}
