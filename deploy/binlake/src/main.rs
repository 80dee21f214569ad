//! `binlake`: the one command line for people.

use std::process::ExitCode;

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wave::source::hide_passwords_in_title();
    match cli::run() {
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
