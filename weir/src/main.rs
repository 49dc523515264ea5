//! The program `weir`; see the library.

fn main() -> std::process::ExitCode {
    weir::cli::main()
}
