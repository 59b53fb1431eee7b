//! What rules cost, as an API server estimates it before it takes a definition.
//!
//! The estimate here follows the API server's in what dominates it: lists are as long, texts as large as their bounds allow, and a rule
//! costs as often as its place can occur. It is rough; the limits leave room for that.

use kube_cel::{
    cel::{
        Program,
        common::ast::{Expr, LiteralValue},
    },
    compile_schema, estimate_rule_cost,
};
use serde_json::{Value, json};

use super::{nodes, schema};
use crate::Kind;

/// Of one rule, over all places it can be in.
const PER_RULE: u64 = 10_000_000;
/// Of all rules of a definition.
const PER_DEFINITION: u64 = 100_000_000;

#[test]
fn rules_compile_and_each_is_cheap() {
    for kind in Kind::ALL {
        let schema = schema(kind);
        for (path, _, node) in nodes(&schema) {
            let compiled = compile_schema(node);
            assert!(
                !compiled.has_errors(),
                "{kind}{path}: {:?}",
                compiled.compilation_errors()
            );
            for rule in rules(node) {
                let findings = estimate_rule_cost(rule, &compiled);
                assert!(findings.is_empty(), "{kind}{path}: {findings:?}");
            }
        }
    }
}

#[test]
fn rules_stay_within_the_api_servers_budget() {
    for kind in Kind::ALL {
        let schema = schema(kind);
        let mut all = 0;
        for (path, times, node) in nodes(&schema) {
            for rule in rules(node) {
                let program = Program::compile(rule).unwrap();
                let (once, _) = estimate(&program.expression().expr, &vec![("self", node.clone())]);
                let cost = times * once;
                assert!(cost < PER_RULE, "{kind}{path}: {times} times {once} for {rule}");
                all += cost;
            }
        }
        assert!(all < PER_DEFINITION, "{kind}: {all}");
    }
}

/// The estimate must be able to fail: without bounds, the same rules are too expensive.
#[test]
fn without_bounds_the_rules_would_be_too_expensive() {
    let unbounded =
        json!({"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}});
    let program = Program::compile("self.all(a, self.all(b, a.name == b.name))").unwrap();
    let (cost, _) = estimate(&program.expression().expr, &vec![("self", unbounded)]);
    assert!(cost > PER_RULE, "{cost}");
}

fn rules(node: &Value) -> impl Iterator<Item = &str> {
    node["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|rule| rule["rule"].as_str())
}

type Scope<'a> = Vec<(&'a str, Value)>;

/// What an expression costs at most, and the schema of its value where that is known.
fn estimate(expr: &Expr, scope: &Scope) -> (u64, Value) {
    match expr {
        Expr::Ident(name) => {
            let schema = scope
                .iter()
                .rev()
                .find(|(known, _)| known == name)
                .map(|(_, schema)| schema.clone());
            (1, schema.unwrap_or(Value::Null))
        }
        Expr::Select(select) => {
            let (cost, schema) = estimate(&select.operand.expr, scope);
            let field = select.field.trim_matches('_');
            let value = match field {
                // Rules of the whole object may use the name, whose schema definitions do not tell.
                "metadata" => json!({"properties": {"name": {"type": "string"}}}),
                field => schema["properties"][field].clone(),
            };
            (cost + 1, value)
        }
        Expr::Literal(LiteralValue::String(text)) => (
            0,
            json!({"type": "string", "maxLength": text.inner().len().div_ceil(BYTES_PER_CHARACTER as usize)}),
        ),
        Expr::List(list) => {
            let elements: Vec<_> = list
                .elements
                .iter()
                .map(|element| estimate(&element.expr, scope))
                .collect();
            let items = elements.first().map_or(Value::Null, |(_, schema)| schema.clone());
            (
                elements.iter().map(|(cost, _)| cost).sum(),
                json!({"type": "array", "maxItems": elements.len(), "items": items}),
            )
        }
        Expr::Comprehension(comprehension) => {
            let (range_cost, range) = estimate(&comprehension.iter_range.expr, scope);
            let mut inner = scope.clone();
            inner.push((&comprehension.iter_var, range["items"].clone()));
            inner.push((&comprehension.accu_var, Value::Null));
            let (condition, _) = estimate(&comprehension.loop_cond.expr, &inner);
            let (step, _) = estimate(&comprehension.loop_step.expr, &inner);
            let (result, _) = estimate(&comprehension.result.expr, &inner);
            (range_cost + size(&range) * (condition + step) + result, range)
        }
        Expr::Call(call) => {
            let target = call.target.as_ref().map(|target| estimate(&target.expr, scope));
            let args = call.args.iter().map(|arg| estimate(&arg.expr, scope));
            let operands: Vec<(u64, Value)> = target.into_iter().chain(args).collect();
            let parts: u64 = operands.iter().map(|(cost, _)| cost).sum();
            let sizes: Vec<u64> = operands.iter().map(|(_, schema)| size(schema)).collect();
            let first = sizes.first().copied().unwrap_or(0);
            let own = match call.func_name.as_str() {
                // A regular expression costs by its own length, too.
                "matches" => first.div_ceil(10) * sizes.get(1).copied().unwrap_or(1).div_ceil(4),
                "contains" => first.div_ceil(10) * sizes.get(1).copied().unwrap_or(1).div_ceil(10),
                "@in" => sizes.get(1).copied().unwrap_or(1) * first.div_ceil(10).max(1),
                _ => first.div_ceil(10) + 1,
            };
            let value = match call.func_name.as_str() {
                // Parts of a text are at most as long as the text.
                "substring" | "_?_:_" => operands
                    .into_iter()
                    .map(|(_, schema)| schema)
                    .max_by_key(size)
                    .unwrap_or(Value::Null),
                _ => Value::Null,
            };
            (parts + own, value)
        }
        _ => (0, Value::Null),
    }
}

/// What a character takes, as an API server assumes.
const BYTES_PER_CHARACTER: u64 = 4;

/// How long a list, and how many bytes large a text, of this schema can be.
fn size(schema: &Value) -> u64 {
    // What fits into a request.
    const UNBOUNDED: u64 = 3_000_000;
    match schema["type"].as_str() {
        Some("array") => schema["maxItems"].as_u64().unwrap_or(UNBOUNDED),
        Some("string") => match schema["enum"].as_array() {
            Some(values) => values
                .iter()
                .filter_map(Value::as_str)
                .map(str::len)
                .max()
                .unwrap_or(0) as u64,
            None => schema["maxLength"]
                .as_u64()
                .map_or(UNBOUNDED, |length| length * BYTES_PER_CHARACTER),
        },
        _ => 1,
    }
}
