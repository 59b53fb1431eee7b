//! Which names a user's name may stand for. In: the name and the search list. Out: absolute names, in the order they
//! are tried, and what to make of each denial on the way.

use hickory_proto::rr::Name;

/// The absolute names that `name` may stand for, most likely first; `Err` says why it is no name.
///
/// A trailing dot, or an empty search list (nameservers of the user's own bring none), makes a name absolute. Else a
/// name with a dot is tried as it is before the search list is gone through, one without only after that.
pub(super) fn forms(name: &str, search: &[Name]) -> Result<Vec<Name>, String> {
    let parsed = Name::from_str_relaxed(name).map_err(|e| format!("{name:?} is not a DNS name: {e}"))?;
    let mut absolute = parsed.clone();
    absolute.set_fqdn(true);
    if parsed.is_fqdn() {
        return Ok(vec![absolute]);
    }
    // a name that grows too long with a search domain cannot exist there
    let searched = search
        .iter()
        .filter_map(|domain| parsed.clone().append_domain(domain).ok())
        .map(|mut name| {
            name.set_fqdn(true);
            name
        });
    let mut forms: Vec<Name> = if parsed.num_labels() > 1 {
        std::iter::once(absolute).chain(searched).collect()
    } else {
        searched.chain(std::iter::once(absolute)).collect()
    };
    let mut seen = std::collections::BTreeSet::new();
    forms.retain(|form| seen.insert(form.to_lowercase()));
    Ok(forms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_follow_dots_and_the_search_list() {
        let search = ["ns.svc.cluster.local.", "corp.example"].map(|s| Name::from_ascii(s).unwrap());
        let table: [(&str, &[Name], &[&str]); 6] = [
            ("db.corp.example.", &search, &["db.corp.example."]),
            ("db.corp.example", &[], &["db.corp.example."]),
            (
                "db",
                &search,
                &["db.ns.svc.cluster.local.", "db.corp.example.", "db."],
            ),
            (
                "db.other",
                &search,
                &[
                    "db.other.",
                    "db.other.ns.svc.cluster.local.",
                    "db.other.corp.example.",
                ],
            ),
            ("_sync._tcp.db", &[], &["_sync._tcp.db."]),
            ("bücher.example", &[], &["xn--bcher-kva.example."]),
        ];
        for (name, search, expected) in table {
            let forms: Vec<String> = forms(name, search).unwrap().iter().map(Name::to_ascii).collect();
            assert_eq!(forms, expected, "{name}");
        }
        assert!(forms("a..b", &[]).unwrap_err().contains("not a DNS name"));
    }
}
