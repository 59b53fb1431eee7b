//! Weighted rendezvous hashing: every client ranks all endpoints by score, and goes to the highest. When an endpoint
//! leaves, only its own clients move; all proxies agree without a word (Thaler and Ravishankar, "Using Name-Based Mappings
//! to Increase Hit Rates"; weights by −w ÷ ln u).

use std::net::{IpAddr, SocketAddr};

/// A client, or a network of clients, as a number.
pub fn client(address: IpAddr) -> u64 {
    mix(number(address))
}

/// How much the client belongs to the endpoint: the highest score wins. `weight` is 1 or more.
pub fn score(client: u64, endpoint: SocketAddr, weight: u64) -> f64 {
    score_of(
        client,
        number(endpoint.ip()) ^ mix(u64::from(endpoint.port())),
        weight,
    )
}

/// The same, of whatever `number` stands for.
pub fn score_of(client: u64, number: u64, weight: u64) -> f64 {
    let endpoint = mix(number);
    let hash = mix(client ^ endpoint);
    // 53 bits, in the open interval (0, 1).
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -(weight as f64) / unit.ln()
}

/// A text as a number, eight bytes at a time.
pub fn text(text: &str) -> u64 {
    let words = text.as_bytes().chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    });
    words.fold(text.len() as u64, |hash, word| mix(hash ^ word))
}

fn number(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix((bits >> 64) as u64) ^ bits as u64
        }
    }
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators"): each bit of the
/// input changes each bit of the output with even odds. Nobody needs it to be secret.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
