//! The program `weir-sink`; see the library.

fn main() -> std::process::ExitCode {
    weir_sink::cli::main()
}
