//! Reading an answer element by element, where types of its own would cost too much or ask for too much.

use quick_xml::{Reader, escape::resolve_predefined_entity, events::Event};

use crate::error::Cause;

/// Calls `each` at the end of every element of an answer, with the names of those that it stands in and its
/// own, each behind a `/`, and with the text that is right in it.
pub(super) fn elements(
    answer: &str,
    xml: &str,
    mut each: impl FnMut(&str, &str) -> Result<(), Cause>,
) -> Result<(), Cause> {
    let wrong = |error: &dyn std::fmt::Display| Cause::Malformed(format!("{answer}: {error}"));
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    let (mut path, mut text) = (String::new(), String::new());
    loop {
        match reader.read_event().map_err(|error| wrong(&error))? {
            Event::Start(start) => {
                let name = start.local_name();
                path.push('/');
                path.push_str(str::from_utf8(name.as_ref()).map_err(|error| wrong(&error))?);
                text.clear();
            }
            Event::End(_) => {
                each(&path, &text)?;
                path.truncate(path.rfind('/').unwrap_or(0));
                text.clear();
            }
            Event::Text(more) => {
                text.push_str(&more.xml10_content().map_err(|error| wrong(&error))?);
            }
            Event::CData(more) => {
                text.push_str(&more.xml10_content().map_err(|error| wrong(&error))?);
            }
            Event::GeneralRef(name) => match name.resolve_char_ref() {
                Ok(Some(c)) => text.push(c),
                Ok(None) => {
                    let name = name.decode().map_err(|error| wrong(&error))?;
                    let meant = resolve_predefined_entity(&name);
                    text.push_str(meant.ok_or_else(|| wrong(&"an entity nobody knows"))?);
                }
                Err(error) => return Err(wrong(&error)),
            },
            Event::Eof if path.is_empty() => return Ok(()),
            Event::Eof => return Err(wrong(&"it ends early")),
            _ => {}
        }
    }
}
