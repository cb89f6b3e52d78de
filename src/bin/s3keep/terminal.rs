//! The terminal, for what a person must see although output is redirected.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
};

/// Standard error if it is a terminal, otherwise the terminal of the process, if there is one.
pub fn writer() -> BufWriter<Box<dyn Write>> {
    let terminal = || File::options().write(true).open("/dev/tty");
    let writer: Box<dyn Write> = match io::stderr().is_terminal() {
        true => Box::new(io::stderr()),
        false => {
            terminal().map_or_else(|_| Box::new(io::stderr()) as _, |file| Box::new(file) as _)
        }
    };
    BufWriter::new(writer)
}
