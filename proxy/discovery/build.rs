//! Compiles `proto/*.proto`, without protoc.

use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let mut protos = Vec::new();
    for entry in std::fs::read_dir("proto")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            protos.push(path);
        }
    }
    protos.sort();
    let descriptors = protox::compile(&protos, [PathBuf::from("proto")])?;
    tonic_prost_build::configure()
        // What many proxies are sent is held once.
        .bytes(".envoy.service.discovery.v3")
        // It holds a token: nothing may be able to print it.
        .skip_debug(["switchyard.identity.v1.ExchangeRequest"])
        .compile_fds(descriptors)?;
    Ok(())
}
