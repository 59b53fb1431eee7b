//! What fuzz targets share. In: a reader of foreign bytes. Out: a panic where it breaks a rule that every reader keeps.

/// The most cuts that are tried of one input: all of a short one.
const CUTS: usize = 256;

/// A reader that is given more and more of a connection's first bytes may say "not yet" (`None`) for a while. Once it has
/// said something, more bytes must not change it: else a client could be taken for one thing by its first packet, and
/// for another by whoever reads the rest.
///
/// # Panics
/// The reader changes its mind.
pub fn decides_once<T: PartialEq + std::fmt::Debug>(bytes: &[u8], read: impl Fn(&[u8]) -> Option<T>) {
    let step = (bytes.len() / CUTS).max(1);
    let mut decided: Option<(usize, T)> = None;
    for end in (0..bytes.len()).step_by(step).chain([bytes.len()]) {
        let now = read(&bytes[..end]);
        match (&decided, now) {
            (None, Some(now)) => decided = Some((end, now)),
            (None, None) => {}
            (Some((at, before)), now) => assert_eq!(
                now.as_ref(),
                Some(before),
                "decided after {at} bytes, otherwise after {end}"
            ),
        }
    }
}
