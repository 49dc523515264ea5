//! The program `weir-agent`; see the library.

fn main() -> std::process::ExitCode {
    weir_agent::cli::main()
}
