//! The program `weir-sink`; see the library.

// That of musl, with which the static program for containers is built, waits for itself with several threads.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    weir_sink::cli::main()
}
