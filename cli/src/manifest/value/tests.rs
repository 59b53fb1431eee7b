use serde_json::json;

use super::*;
use crate::manifest::tree;

/// A document whose only field `x` has this schema.
fn read(text: &str, schema: &Value) -> Value {
    let (documents, mistakes) = tree::parse("f", &format!("x: {text}\n"));
    assert_eq!(mistakes, [], "{text}");
    let schema = json!({"properties": {"x": schema}});
    convert(&documents[0], &schema)["x"].clone()
}

#[test]
fn where_text_is_wanted_text_stays_as_it_is_written() {
    let text = json!({"type": "string"});
    for written in [
        "Off",
        "off",
        "On",
        "yes",
        "No",
        "y",
        "n",
        "true",
        "False",
        "07:00",
        "12:30:45",
        "1.2",
        "1e3",
        "0x10",
        "0o17",
        "1_000",
        "-1",
        "+1",
        ".5",
        ".inf",
        ".nan",
        "2026-12-25",
        "None",
        "0123",
        "1.10",
        "10.0.0.0/8",
        "::1",
    ] {
        assert_eq!(read(written, &text), json!(written));
        assert_eq!(
            read(&format!("{written:?}"), &text),
            json!(written),
            "quoted {written}"
        );
        let list = read(&format!("[{written}]"), &json!({"items": text}));
        assert_eq!(list, json!([written]), "in a list");
        let map = read(
            &format!("{{a/b: {written}}}"),
            &json!({"additionalProperties": text}),
        );
        assert_eq!(map, json!({"a/b": written}), "in a map");
    }
    assert_eq!(read("!!str 12", &json!({})), json!("12"));
    assert_eq!(read("! 12", &json!({})), json!("12"));
    assert_eq!(read("|\n  12\n", &json!({})), json!("12\n"));
}

#[test]
fn elsewhere_the_core_schema_of_yaml_1_2_decides() {
    for (written, value) in [
        ("true", json!(true)),
        ("True", json!(true)),
        ("FALSE", json!(false)),
        ("yes", json!("yes")),
        ("Off", json!("Off")),
        ("on", json!("on")),
        ("", json!(null)),
        ("~", json!(null)),
        ("null", json!(null)),
        ("0", json!(0)),
        ("-7", json!(-7)),
        ("+7", json!(7)),
        ("0123", json!(123)),
        ("0x1F", json!(31)),
        ("0o17", json!(15)),
        ("0b1", json!("0b1")),
        ("1_000", json!("1_000")),
        ("18446744073709551615", json!(u64::MAX)),
        ("1.5", json!(1.5)),
        ("-.5", json!(-0.5)),
        ("1.", json!(1.0)),
        ("1e3", json!(1000.0)),
        ("1e", json!("1e")),
        (".", json!(".")),
        ("-", json!(null)), // a list with an empty item
        ("07:00", json!("07:00")),
        ("50%", json!("50%")),
        (".inf", json!(".inf")),
        ("1e999", json!("1e999")),
    ] {
        if written != "-" {
            assert_eq!(read(written, &json!({"type": "integer"})), value, "{written:?}");
        }
    }
    assert_eq!(
        read("\"8080\"", &json!({"type": "integer"})),
        json!("8080"),
        "quotes mean text"
    );
}
