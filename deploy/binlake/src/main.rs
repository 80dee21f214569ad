//! `binlake`: the one command line for people.

use std::process::ExitCode;

use wave::exit::complain;

mod cli;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The arguments are copied first: what is overwritten below is the memory that they are read from.
    let arguments: Vec<_> = std::env::args_os().collect();
    wave::secrets::hide_in_title();
    match cli::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            complain(&format!("binlake: {}", exit.message));
            if let Some(hint) = &exit.hint {
                complain(&format!("         {hint}"));
            }
            ExitCode::from(exit.code)
        }
    }
}
