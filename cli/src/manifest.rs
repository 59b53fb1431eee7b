//! In: the bytes of manifest files. Out: the objects they hold, read as their schemas want them; and every mistake at
//! once, each with its file, line and field.
//!
//! The steps, each in its module: [`source`] finds and reads the files (the only step that touches the disk), `tree`
//! parses YAML into trees that know their lines, `object` takes documents apart into objects, `value` reads their values as
//! the schema says, `metadata` finds their names. Secrets are checked here; whether pools and chains keep the rules of their
//! kinds is the next step's business ([`crate::check`]).

pub mod mistake;
pub mod source;

mod metadata;
mod object;
mod place;
mod secret;
mod suggest;
mod tree;
mod value;

pub use metadata::reduce;
pub use mistake::{Mistake, Position};
pub use object::{Manifest, Object};
pub use source::Source;

/// Every object of the files, in order, and every mistake, in no order yet.
pub fn read(sources: &[Source]) -> (Vec<Manifest>, Vec<Mistake>) {
    let mut manifests = Vec::new();
    let mut mistakes = Vec::new();
    for Source { name, bytes } in sources {
        let text = match source::text(name, bytes) {
            Ok(text) => text,
            Err(mistake) => {
                mistakes.push(mistake);
                continue;
            }
        };
        let (documents, wrong) = tree::parse(name, text);
        mistakes.extend(wrong);
        for document in &documents {
            object::read_document(name, document, &mut manifests, &mut mistakes);
        }
    }
    object::refuse_duplicates(&mut manifests, &mut mistakes);
    (manifests, mistakes)
}
