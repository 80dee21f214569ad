//! `binlake`: the one command line for people.

use std::process::ExitCode;

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The arguments are copied first: what is overwritten below is the memory that they are read from.
    let arguments: Vec<_> = std::env::args_os().collect();
    wave::source::hide_passwords_in_title();
    match cli::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            eprintln!("binlake: {}", exit.message);
            if let Some(hint) = &exit.hint {
                eprintln!("         {hint}");
            }
            ExitCode::from(exit.code)
        }
    }
}
