//! An HTTP/1.1 response, read from a connection in a test's hand. In: a [`Wire`]. Out: status, head and body, or how the
//! connection ended instead.

use super::{End, Wire};

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status code.
    pub status: u16,
    /// Its header lines, without line ends.
    pub lines: Vec<String>,
    /// Its body, without framing.
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads the next one, to a request other than HEAD. One with neither a length nor chunks has no body here: its end
    /// would be that of the connection.
    pub fn read(wire: &mut Wire) -> Result<Self, End> {
        let mut lines = Vec::new();
        loop {
            match wire.line()?.trim_end_matches('\r') {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let first = lines.first().cloned().unwrap_or_default();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| End::Other(format!("no status line: {first:?}")))?;
        let mut reply = Self {
            status,
            lines,
            body: Vec::new(),
        };
        if let Some(length) = reply.header("content-length") {
            let length = length.parse();
            let length: usize =
                length.map_err(|_| End::Other("a response's length is no number".to_owned()))?;
            reply.body = wire.take(length)?;
        } else if reply.header("transfer-encoding").is_some() {
            reply.read_chunks(wire)?;
        }
        Ok(reply)
    }

    /// The first header line of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.lines.iter().skip(1);
        lines.find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// Its body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn read_chunks(&mut self, wire: &mut Wire) -> Result<(), End> {
        loop {
            let size = wire.line()?;
            let size = usize::from_str_radix(size.trim_end_matches('\r'), 16);
            let size = size.map_err(|_| End::Other("a chunk's size is no number".to_owned()))?;
            if size == 0 {
                break;
            }
            self.body.extend(wire.take(size)?);
            wire.take(2)?;
        }
        while !wire.line()?.trim_end_matches('\r').is_empty() {}
        Ok(())
    }
}
