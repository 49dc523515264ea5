//! The program `weir-sink`; see the library.

// Rows are made on one thread and dropped on another: that of glibc keeps three times the memory then, and that of musl waits for
// itself. How soon memory is given back is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    weir_sink::cli::main()
}
