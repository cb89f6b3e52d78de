//! Reading XML element by element, where deserializing into types would be too slow or too strict.

use std::fmt::Display;

use quick_xml::{Reader, escape::resolve_predefined_entity, events::Event};

use crate::error::Cause;

/// Calls `on_element` at the end of every element, with its path and its own text.
///
/// The path is made of the names of the enclosing elements and of the element itself, each after a
/// `/`, without namespace prefixes. `operation` names the response in an error.
pub(crate) fn for_each_element(
    operation: &str,
    xml: &str,
    mut on_element: impl FnMut(&str, &str) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let malformed = |error: &dyn Display| Cause::Malformed(format!("{operation}: {error}"));
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut text) = (String::new(), String::new());
    loop {
        match reader.read_event().map_err(|error| malformed(&error))? {
            Event::Start(start) => {
                let name = start.local_name();
                path.push('/');
                path.push_str(str::from_utf8(name.as_ref()).map_err(|error| malformed(&error))?);
                text.clear();
            }
            Event::End(_) => {
                on_element(&path, &text)?;
                path.truncate(path.rfind('/').unwrap_or(0));
                text.clear();
            }
            Event::Text(more) => {
                text.push_str(&more.xml10_content().map_err(|error| malformed(&error))?);
            }
            Event::CData(more) => {
                text.push_str(&more.xml10_content().map_err(|error| malformed(&error))?);
            }
            Event::GeneralRef(name) => match name.resolve_char_ref() {
                Ok(Some(c)) => text.push(c),
                Ok(None) => {
                    let name = name.decode().map_err(|error| malformed(&error))?;
                    let resolved = resolve_predefined_entity(&name);
                    text.push_str(resolved.ok_or_else(|| malformed(&"unknown entity"))?);
                }
                Err(error) => return Err(malformed(&error)),
            },
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => return Err(malformed(&"the XML ends early")),
            _ => {}
        }
    }
}
