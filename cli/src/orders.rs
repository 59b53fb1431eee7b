//! `switchyard drain` and `switchyard return`: what proxies are asked to do. In: one admin endpoint, or pools and groups of a
//! cluster. Out: what each said.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use crate::admin_client::Answer;
use crate::cluster::{Cluster, block_on};
use crate::proxies::{self, ProxiesArgs, Proxy};

/// Exit code: somebody could not be asked.
const NOT_ASKED: u8 = 2;

/// What `switchyard drain` takes.
#[derive(Args, Debug)]
pub struct DrainArgs {
    /// Whom to drain: all proxies of a pool, or one of them
    #[arg(
        value_name = "POOL[/PROXY]",
        required_unless_present = "admin",
        conflicts_with = "admin"
    )]
    proxies: Option<String>,
    #[command(flatten)]
    at: ProxiesArgs,
}

/// What `switchyard return` takes.
#[derive(Args, Debug)]
pub struct ReturnArgs {
    /// The group whose guests go back, as [NAMESPACE/]NAME
    #[arg(value_name = "GROUP")]
    group: String,
    #[command(flatten)]
    at: ProxiesArgs,
}

/// Proxies take nobody new, tell their clients where to go, and end once they have left.
pub fn drain(args: &DrainArgs) -> ExitCode {
    let asked = block_on(async {
        let proxies = match (&args.at.admin, &args.proxies) {
            (None, Some(target)) => proxies::named(&args.at, target).await?,
            (admin, _) => vec![Proxy::At(admin.clone().unwrap_or_default())],
        };
        Ok(ask_all(&proxies, "/drain").await)
    });
    told("drain", asked, |proxy, answer| {
        if answer.status != 202 {
            return Err(refusal(proxy, answer));
        }
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match said["draining"]["until"].as_str() {
            Some(until) => println!("{proxy} drains; whoever is left at {until} is closed"),
            None => println!("{proxy} has drained"),
        }
        Ok(true)
    })
}

/// Guests of the group go back to where they belong, at the pace of each proxy.
pub fn give_back(args: &ReturnArgs) -> ExitCode {
    let asked = block_on(async {
        if let Some(admin) = &args.at.admin {
            let group = qualified("default", &args.group);
            let proxies = [Proxy::At(admin.clone())];
            return Ok(ask_all(&proxies, &format!("/return?group={group}")).await);
        }
        let (namespace, group) = match args.group.split_once('/') {
            Some((namespace, group)) => (Some(namespace), group),
            None => (None, &*args.group),
        };
        let cluster = Cluster::connect(&args.at.namespace.or(namespace)).await?;
        let pools = proxies::pools_of_group(&cluster, group).await?;
        let proxies = proxies::of_pools(&cluster, |pool| pools.iter().any(|it| it == pool)).await?;
        let group = qualified(&cluster.namespace, group);
        Ok(ask_all(&proxies, &format!("/return?group={group}")).await)
    });
    told("return", asked, |proxy, answer| {
        if ![202, 409].contains(&answer.status) {
            return Err(refusal(proxy, answer));
        }
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let mut going = false;
        for chain in said["chains"].as_array().into_iter().flatten() {
            let name = chain["chain"].as_str().unwrap_or_default();
            if chain["returning"] == true {
                going = true;
                println!("{proxy}: {name}: its guests go back");
            } else {
                let why = chain["why"].as_str().unwrap_or("nobody can go back");
                println!("{proxy}: {name}: {why}");
            }
        }
        Ok(going)
    })
}

fn qualified(namespace: &str, group: &str) -> String {
    match group.split_once('/') {
        Some(_) => group.to_owned(),
        None => format!("{namespace}/{group}"),
    }
}

type Asked = (Proxy, Result<Answer, String>);

/// One after the other: what the first said may be a reason to stop.
async fn ask_all(proxies: &[Proxy], path: &str) -> Vec<Asked> {
    let mut all = Vec::new();
    for proxy in proxies {
        all.push((proxy.clone(), proxy.ask(Method::POST, path).await));
    }
    all
}

/// Exit code 1: nobody did anything; 2: somebody could not be asked, or refused.
fn told(
    command: &str,
    asked: Result<Vec<Asked>, String>,
    tell: impl Fn(&Proxy, &Answer) -> Result<bool, String>,
) -> ExitCode {
    let asked = match asked {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("switchyard {command}: {why}");
            return ExitCode::from(NOT_ASKED);
        }
    };
    let (mut done, mut failed) = (false, false);
    for (proxy, answer) in &asked {
        match answer
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|answer| tell(proxy, answer))
        {
            Ok(did) => done |= did,
            Err(why) => {
                failed = true;
                eprintln!("switchyard {command}: {why}");
            }
        }
    }
    match (failed, done) {
        (true, _) => ExitCode::from(NOT_ASKED),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    }
}

fn refusal(proxy: &Proxy, answer: &Answer) -> String {
    let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    let why = said["error"].as_str().map(str::to_owned);
    why.unwrap_or_else(|| format!("{proxy} answered {}", answer.status))
}
