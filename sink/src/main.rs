//! The program `weir-sink`; see the library.

// Rows are made on one thread and dropped on another: that of glibc took two fifths of the program's CPU time so, and that of
// musl waits for itself.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    weir_sink::cli::main()
}
