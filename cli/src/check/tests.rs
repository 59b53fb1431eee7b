//! Whatever the bytes are, there is an answer: what the files become, or mistakes with a place.

use proptest::prelude::*;

use super::*;

const EXAMPLES: [&str; 7] = [
    include_str!("../../../examples/failover.yaml"),
    include_str!("../../../examples/https.yaml"),
    include_str!("../../../examples/mail-auto-port.yaml"),
    include_str!("../../../examples/prime-time.yaml"),
    include_str!("../../../examples/rotating-dns.yaml"),
    include_str!("../../../examples/sidecar.yaml"),
    include_str!("../../../examples/sni-passthrough.yaml"),
];

fn source(bytes: Vec<u8>) -> Vec<Source> {
    vec![Source {
        name: "f.yaml".to_owned(),
        bytes,
    }]
}

/// Loads, and checks that what is said can be found: in the file, on a line that it has.
fn load_and_look(bytes: Vec<u8>) -> Result<(), TestCaseError> {
    let lines = bytes.split(|b| *b == b'\n').count();
    match load_sources(&source(bytes)) {
        Ok(loaded) => {
            for (pool, _) in loaded.pools() {
                let (_, invalid) = loaded.snapshot(&pool).validate();
                prop_assert_eq!(invalid, [], "what was checked is rejected by the proxy");
            }
        }
        Err(mistakes) => {
            prop_assert!(!mistakes.is_empty());
            for mistake in &mistakes {
                prop_assert!(mistake.line as usize <= lines + 1, "{}", mistake);
            }
            let in_order = mistakes.is_sorted_by_key(|mistake| (mistake.line, mistake.column));
            prop_assert!(in_order, "{:#?}", mistakes);
        }
    }
    Ok(())
}

/// A cut, an insertion or a replacement in an example.
fn edited() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "",
        " ",
        "\n",
        "\t",
        ":",
        ": ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        "*a",
        "&a ",
        "#",
        "|",
        ">",
        "!",
        "\"",
        "'",
        "---\n",
        "~",
        "0",
        "-1",
        "99999999999",
        "1e9",
        "yes",
        "Off",
        "?",
        "é",
        "\u{0}",
        "\u{feff}",
        "<<: *a\n",
    ]);
    let edits = prop::collection::vec((any::<usize>(), 0..12usize, pieces), 1..5);
    (prop::sample::select(&EXAMPLES[..]), edits).prop_map(|(example, edits)| {
        let mut text: Vec<char> = example.chars().collect();
        for (at, cut, piece) in edits {
            let at = at % (text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, piece.chars());
        }
        text.into_iter().collect::<String>().into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn edited_manifests_are_loaded_or_explained(bytes in edited()) {
        load_and_look(bytes)?;
    }

    #[test]
    fn any_bytes_are_loaded_or_explained(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        load_and_look(bytes)?;
    }

    #[test]
    fn any_text_is_loaded_or_explained(text in "(apiVersion: |kind: |ProxyPool|List|Secret|[ \n:\\-\\[\\]{},&*!|>'\"#%@`a-c0-9]){0,80}") {
        load_and_look(text.into_bytes())?;
    }
}

#[test]
fn loading_is_a_function_of_what_the_files_hold() {
    let sources: Vec<Source> = EXAMPLES
        .iter()
        .enumerate()
        .map(|(i, text)| Source {
            name: format!("{i}.yaml"),
            bytes: text.as_bytes().to_vec(),
        })
        .collect();
    let loaded = |sources: &[Source]| load_sources(sources).unwrap();
    let (one, other) = (loaded(&sources), loaded(&sources));
    let pools: Vec<String> = one.pools().iter().map(|(pool, _)| pool.name.clone()).collect();
    assert_eq!(
        pools,
        [
            "sync",
            "shop-front",
            "mail",
            "office",
            "chat",
            "orders-side",
            "tls"
        ],
        "in the order of the files"
    );
    for (pool, replicas) in one.pools() {
        assert_eq!(replicas, 2);
        assert_eq!(one.snapshot(&pool), other.snapshot(&pool));
    }
}
