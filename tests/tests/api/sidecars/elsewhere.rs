//! A sidecar's chain whose group lives elsewhere: the sidecar hears nobody,
//! and is told by the operator who serves.

use serde_json::json;
use switchyard_tests::lab::Lab;

use super::scene::Scene;
use crate::shared::{SOON, Shared};
use crate::site::{chain_spec, served_by};

/// Clients go to another pool's proxies, also while no operator is there and one of these is gone; and back.
pub fn relayed(lab: &Lab, shared: &Shared) {
    let mut scene = Scene::new(lab, shared, &[]);
    let (mut b1, b2) = (scene.site.backend("b1", 21), scene.site.backend("b2", 22));
    scene.site.pool(&["one"]);
    let mut far = chain_spec("one", &[&b2]);
    far["group"] = json!("g");
    scene.site.apply("ProxyChain", "far", &far);
    let mut near = chain_spec("db", &[&b1]);
    near["poolRef"]["name"] = json!("side");
    near["group"] = json!("g");
    scene.site.apply("ProxyChain", "orders-db", &near);
    let mut members = [scene.site.member(33), scene.site.member(34)];
    for member in &members {
        member.await_serving("far", &[b2.address()], SOON);
    }
    let (host, app) = scene.beside(31);
    let inside = "127.0.0.1:8001".parse().unwrap();
    served_by(&host, inside, &b1);
    switchyard_tests::eventually::eventually("it is told that both serve", SOON, || {
        let (_, table) = app.get("/table")?;
        let told: serde_json::Value = serde_json::from_str(&table).map_err(|error| error.to_string())?;
        let serving = told.to_string().matches("\"serves\":true").count();
        if serving == members.len() {
            Ok(())
        } else {
            Err(table)
        }
    });
    b1.kill();
    let took = served_by(&host, inside, &b2);
    lab.say(format!("served elsewhere after {took:.1?}"));
    scene.site.operator.kill();
    members[0].kill();
    let took = served_by(&host, inside, &b2);
    lab.say(format!(
        "without an operator and one of two proxies: after {took:.1?}"
    ));
    b1.revive();
    let took = served_by(&host, inside, &b1);
    lab.say(format!("at home again after {took:.1?}"));
}
