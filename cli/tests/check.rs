//! `switchyard check` as its users meet it: the program itself, run on files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use switchyard_operator::secrets::{Known, SecretId};

/// Runs the program in a directory.
fn check(directory: &Path, files: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.current_dir(directory).arg("check");
    for file in files {
        command.args(["-f", file]);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A manifest that breaks rules, and what must be said about it.
struct Case {
    name: String,
    manifest: String,
    expected: Vec<Expected>,
}

/// Line, field (`-`: none) and words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    line: usize,
    field: String,
    words: String,
}

/// Cases of one file. `#case NAME` begins one; `# expect FIELD | WORDS` stands on the line that must be named, or says it:
/// `# expect@LINE FIELD | WORDS`.
fn cases(file: &Path) -> Vec<Case> {
    let text = fs::read_to_string(file).unwrap();
    let parts = text.split("#case ").skip(1);
    let case = |part: &str| {
        let (name, manifest) = part.split_once('\n').unwrap();
        let lines = manifest.lines().enumerate();
        let expected = lines.flat_map(|(i, line)| {
            line.split("# expect")
                .skip(1)
                .map(move |words| expectation(i + 1, words))
        });
        let mut expected: Vec<Expected> = expected.collect();
        expected.sort_by_key(|expected| expected.line);
        Case {
            name: name.to_owned(),
            expected,
            manifest: manifest.to_owned(),
        }
    };
    parts.map(case).collect()
}

fn expectation(here: usize, text: &str) -> Expected {
    let (place, words) = text.split_once(" | ").unwrap();
    let (line, field) = place.split_once(' ').unwrap();
    let line = line.strip_prefix('@').map_or(here, |line| line.parse().unwrap());
    Expected {
        line,
        field: field.trim().to_owned(),
        words: words.trim().to_owned(),
    }
}

/// What the program said: `case.yaml:LINE:COL: FIELD: MESSAGE`, as line and the rest.
fn said(output: &Output) -> Vec<(usize, String)> {
    let stderr = text(&output.stderr);
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("case.yaml:"));
    let mistake = |line: &str| {
        let mut parts = line.splitn(3, ':');
        let number = parts.next().unwrap().parse().unwrap();
        let _column: usize = parts.next().unwrap().parse().unwrap();
        (number, parts.next().unwrap().trim_start().to_owned())
    };
    lines.map(mistake).collect()
}

/// What is wrong with what was said about a case; nothing where it is what was expected.
fn verdict(case: &Case) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("case.yaml"), &case.manifest).unwrap();
    let output = check(directory.path(), &["case.yaml"]);
    let said = said(&output);
    let fits = |expected: &Expected, (line, rest): &(usize, String)| {
        let field = if expected.field == "-" {
            String::new()
        } else {
            format!("{}: ", expected.field)
        };
        *line == expected.line && rest.starts_with(&field) && rest[field.len()..].contains(&expected.words)
    };
    let all_fit =
        case.expected.len() == said.len() && case.expected.iter().zip(&said).all(|(e, s)| fits(e, s));
    let count = text(&output.stderr).lines().last().unwrap_or_default().to_owned();
    let counted = count.starts_with(&format!("{} mistake", said.len()))
        && count.ends_with("in 1 file; nothing was changed.");
    if all_fit && counted && output.status.code() == Some(2) && !said.is_empty() {
        return None;
    }
    Some(format!(
        "{}\n  expected {:#?}\n  exit {:?}, said\n{}",
        case.name,
        case.expected,
        output.status.code(),
        text(&output.stderr)
    ))
}

fn all_cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().flat_map(|file| cases(file)).collect()
}

#[test]
fn each_broken_rule_is_named_with_file_line_and_field() {
    let cases = all_cases();
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let chunks = cases.chunks(cases.len().div_ceil(workers));
        let verdicts = |chunk| move || <[Case]>::iter(chunk).filter_map(verdict).collect::<Vec<_>>();
        let running: Vec<_> = chunks.map(|chunk| scope.spawn(verdicts(chunk))).collect();
        running
            .into_iter()
            .flat_map(|running| running.join().unwrap())
            .collect()
    });
    assert!(
        wrong.is_empty(),
        "{} of {} cases:\n\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    println!("{} bad manifests, exit code 2 each", cases.len());
}

#[test]
fn no_two_of_the_bad_manifests_break_the_same_rule() {
    let cases = all_cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let mut rules = BTreeSet::new();
    for Case { name, expected, .. } in &cases {
        let [only] = expected.as_slice() else { continue };
        assert!(rules.insert((only.field.clone(), only.words.clone())), "{name}");
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "a name stands twice");
    assert!(rules.len() >= 60, "{}", rules.len());
}

const POOL: &str = "apiVersion: switchyard.dev/v1alpha1
kind: ProxyPool
metadata: {name: web}
spec: {listeners: [{name: web, port: 80}]}
";

/// A directory with these files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(directory.path().join(name), content).unwrap();
    }
    directory
}

fn says(output: &Output, code: i32, lines: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(stderr.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn every_example_works_as_it_stands_alone_and_together() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut files: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|kind| kind == "yaml"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "{files:?}");
    for file in files.iter().map(String::as_str).chain(["."]) {
        let output = check(&folder, &[file]);
        assert_eq!(output.status.code(), Some(0), "{file}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains("ProxyChain default/"), "{file}");
    }
}

#[test]
fn what_good_files_become_is_one_line_per_object() {
    let directory = directory(&[
        ("a.yaml", POOL),
        (
            "b.json",
            r#"{"apiVersion": "switchyard.dev/v1alpha1", "kind": "ProxyChain",
	"metadata": {"name": "shop"}, "spec": {"poolRef": {"name": "web"}, "hostnames": ["shop.example"],
	"backends": [{"name": "v6", "host": "2001:db8::1", "port": 443}, {"name": "srv", "srv": "_shop._tcp.example", "tier": 1}]}}"#,
        ),
    ]);
    let output = check(directory.path(), &["."]);
    assert_eq!(text(&output.stderr), "");
    assert_eq!(
        text(&output.stdout).lines().collect::<Vec<_>>(),
        [
            "ProxyPool default/web: 2 proxies; web on port 80 (Auto)",
            "ProxyChain default/shop: shop.example at web -> v6 (tier 0, [2001:db8::1]:443), srv (tier 1, SRV _shop._tcp.example)",
        ]
    );
}

#[test]
fn what_ends_tls_is_told_by_its_certificates_and_no_key_is_shown() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/https.yaml");
    let output = check(example.parent().unwrap(), &["https.yaml"]);
    let manifest = fs::read_to_string(&example).unwrap();
    assert_eq!(text(&output.stderr), "");
    let stdout = text(&output.stdout);
    assert_eq!(
        stdout.lines().collect::<Vec<_>>(),
        [
            "ProxyPool default/shop-front: 2 proxies; http on port 8080 (HTTP; sends clients to https at port 8443), https on port \
             8443 (HTTPS; TLS 1.2 or later as shop.example.com *.shop.example.com until 2126-10-28 (Secret shop-tls), blog.example.com \
             until 2126-10-28 (Secret blog-tls))",
            "ProxyChain default/blog-site: blog.example.com at https -> blog (tier 0, 127.0.0.1:9003)",
            "ProxyChain default/shop-site: shop.example.com, *.shop.example.com at https -> primary (tier 0, 127.0.0.1:9001), \
             standby (tier 1, 127.0.0.1:9002)",
            "Secret default/blog-tls: 2 keys",
            "Secret default/shop-tls: 2 keys",
        ]
    );
    for line in manifest
        .lines()
        .filter(|line| line.len() > 60 && !line.contains(' '))
    {
        assert!(!stdout.contains(line.trim()), "{line}");
    }
}

#[test]
fn a_certificate_whose_time_is_over_is_said_and_used() {
    let mut params = rcgen::CertificateParams::new(vec!["old.example".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let key = rcgen::KeyPair::generate().unwrap();
    let quoted = |pem: String| serde_json::to_string(&pem).unwrap();
    let manifest = format!(
        "{}---\napiVersion: v1\nkind: Secret\nmetadata: {{name: old}}\nstringData: {{tls.crt: {}, tls.key: {}}}\n",
        POOL.replace(
            "port: 80",
            "port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: old}]}"
        ),
        quoted(params.self_signed(&key).unwrap().pem()),
        quoted(key.serialize_pem()),
    );
    let directory = directory(&[("a.yaml", &manifest)]);
    let output = check(directory.path(), &["a.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(
        stdout.contains("as old.example until 2020-01-02 (Secret old)"),
        "{stdout}"
    );
    let note = "note: Secret default/old: its certificate expired at 2020-01-02T00:00:00Z: renew it";
    assert!(stdout.lines().any(|line| line == note), "{stdout}");
}

#[test]
fn what_has_no_effect_outside_a_cluster_is_said() {
    let pool = POOL.replace("spec: {", "spec: {workload: {kind: DaemonSet}, ");
    let directory = directory(&[("a.yaml", &pool)]);
    let output = check(directory.path(), &["a.yaml"]);
    let expected =
        "note: ProxyPool default/web: spec.workload has no effect here: it describes the pods of a cluster";
    assert!(
        text(&output.stdout).contains(expected),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn mistakes_of_several_files_come_in_the_order_of_files_and_lines() {
    let directory = directory(&[
        ("b.yaml", &POOL.replace("port: 80", "port: 0")),
        (
            "a.yaml",
            &format!("{POOL}---\n{}", POOL.replace("ProxyPool", "Pod")),
        ),
        ("c.txt", "not for us"),
        (".d.yaml", "nor this: ["),
    ]);
    let output = check(directory.path(), &["."]);
    says(
        &output,
        2,
        &[
            "./a.yaml:7:1: kind: \"Pod\" is no kind that is read here; known are ProxyPool, ProxyChain, Secret",
            "./b.yaml:3:12: metadata.name: ProxyPool default/web is there already: ./a.yaml:1",
            "2 mistakes in 2 files; nothing was changed.",
        ],
    );
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = directory(&[("large.yaml", &"#".repeat(4 * 1024 * 1024 + 1))]);
    fs::write(directory.path().join("latin1.yaml"), b"a: b\nc: \xe9\n").unwrap();
    fs::create_dir(directory.path().join("empty")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(directory.path().join("pipe.yaml"))
        .status()
        .unwrap();
    assert!(fifo.success());
    says(
        &check(
            directory.path(),
            &["gone.yaml", "empty", "large.yaml", "pipe.yaml"],
        ),
        2,
        &[
            "empty: holds no manifest (*.yaml, *.yml, *.json)",
            "gone.yaml: cannot be read: No such file or directory (os error 2)",
            "large.yaml: is larger than 4 MiB: split it",
            "pipe.yaml: cannot be read: it is no regular file",
            "4 mistakes in 4 files; nothing was changed.",
        ],
    );
    says(
        &check(directory.path(), &["latin1.yaml"]),
        2,
        &[
            "latin1.yaml:2:4: is no UTF-8 text: byte 0xe9 does not belong there",
            "1 mistake in 1 file; nothing was changed.",
        ],
    );
}

#[test]
fn what_would_take_memory_or_stack_without_end_is_refused_in_words() {
    let bomb: String = (1..12).fold(
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(),
        |text, i| {
            format!(
                "{text}a{i}: &a{i} [{}]\n",
                vec![format!("*a{}", i - 1); 10].join(", ")
            )
        },
    );
    let tower: String = (1..200).fold("a0: &a0 [x]\n".to_owned(), |text, i| {
        format!("{text}a{i}: &a{i} [*a{}]\n", i - 1)
    });
    for (content, words) in [
        (format!("kind: {}", "[".repeat(100_000)), "no YAML: "),
        (
            format!("kind: {}x{}", "{a: ".repeat(5_000), "}".repeat(5_000)),
            "no YAML: ",
        ),
        (tower, "nested deeper than 64 levels, aliases expanded"),
        (bomb, "holds more than 100000 values, aliases expanded"),
        (
            format!("kind: [{}]", "a,".repeat(200_000)),
            "holds more than 100000 values",
        ),
        ("--- {}\n".repeat(1_001), "holds more than 1000 documents"),
        (
            "a: &a [*a]".to_owned(),
            "an alias inside the value that it stands for",
        ),
    ] {
        let directory = directory(&[("case.yaml", &content)]);
        let output = check(directory.path(), &["case.yaml"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(
            stderr.contains(words),
            "{words}: {}",
            &stderr[..stderr.len().min(2_000)]
        );
    }
}

#[test]
fn words_that_yaml_1_1_reads_as_something_else_survive() {
    let manifest = format!(
        "{POOL}---
apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {{name: 1.2, labels: {{a: yes, b: Off, c: 0x10, d: 1e3}}}}
spec:
  poolRef: {{name: web}}
  backends:
  - {{name: 0123, host: off, port: 80}}
  - {{name: no, host: 1e3, port: 81, tier: 1}}
  - {{name: 12, host: \"null\", port: 81, tier: 1}}
  schedule:
    timeZone: UTC
    starts: [{{days: [Mon], at: 07:00}}, {{days: [Tue], at: 19:30:15}}]
    except: [2026-12-25]
  health: {{monitors: [{{tcp: {{send: On, expect: 1.10}}}}]}}
"
    )
    .replace("metadata: {name: 1.2,", "metadata: {name: on,");
    let directory = directory(&[("a.yaml", &manifest)]);
    let loaded = switchyard::check::load(&[directory.path().join("a.yaml")]).unwrap();
    let (pool, _) = &loaded.pools()[0];
    let snapshot = serde_json::to_value(loaded.snapshot(pool)).unwrap();
    let chain = &snapshot["chains"][0];
    let at = |pointer: &str| chain.pointer(pointer).unwrap().as_str().unwrap();
    for (pointer, written) in [
        ("/id/name", "on"),
        ("/backends/0/name", "0123"),
        ("/backends/0/target/host/host", "off"),
        ("/backends/1/name", "no"),
        ("/backends/1/target/host/host", "1e3"),
        ("/backends/2/name", "12"),
        ("/backends/2/target/host/host", "null"),
        ("/schedule/starts/0/at", "07:00"),
        ("/schedule/starts/1/at", "19:30:15"),
        ("/schedule/except/0", "2026-12-25"),
        ("/health/monitors/0/tcp/send", "On"),
        ("/health/monitors/0/tcp/expect", "1.10"),
    ] {
        assert_eq!(at(pointer), written);
    }
}

#[test]
fn secrets_are_read_and_never_shown() {
    let good = "apiVersion: v1
kind: Secret
metadata: {name: keys, namespace: edge}
type: Opaque
data:
  encoded: aHVudGVyMg==
stringData:
  plain: off
";
    let directory = directory(&[
        ("good.yaml", good),
        (
            "bad.yaml",
            &good
                .replace("aHVudGVyMg==", "[hunter2]")
                .replace("off", "{a: hunter3}"),
        ),
    ]);
    let loaded = switchyard::check::load(&[directory.path().join("good.yaml")]).unwrap();
    let id = SecretId {
        namespace: "edge".to_owned(),
        name: "keys".to_owned(),
    };
    let Some(Known::There(secret)) = loaded.secrets().get(&id) else {
        panic!("{:?}", loaded.secrets())
    };
    assert_eq!(secret.data()["encoded"], b"hunter2");
    assert_eq!(secret.data()["plain"], b"off");
    assert_eq!(format!("{secret:?}"), r#"{"encoded", "plain"}"#);
    let output = check(directory.path(), &["good.yaml"]);
    assert_eq!(text(&output.stdout), "Secret edge/keys: 2 keys\n");
    let output = check(directory.path(), &["bad.yaml"]);
    says(
        &output,
        2,
        &[
            "bad.yaml:6:3: data.encoded: must be text",
            "bad.yaml:8:3: stringData.plain: must be text",
            "2 mistakes in 1 file; nothing was changed.",
        ],
    );
}

#[test]
fn a_chain_of_a_broken_pool_is_not_told_that_the_pool_is_missing() {
    let chain = "apiVersion: switchyard.dev/v1alpha1
kind: ProxyChain
metadata: {name: chain}
spec:
  poolRef: {name: web}
  backends: [{name: one, host: one.example, port: 80}]
";
    let directory = directory(&[
        ("a.yaml", &POOL.replace("port: 80", "port: eighty")),
        ("b.yaml", chain),
    ]);
    says(
        &check(directory.path(), &["a.yaml", "b.yaml"]),
        2,
        &[
            "a.yaml:4:32: spec.listeners[0].port: \"eighty\" is not a whole number: write a whole number",
            "1 mistake in 1 file; nothing was changed.",
        ],
    );
}
