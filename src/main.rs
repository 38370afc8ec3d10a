//! The `ssan` command; see [`ssan::cli`].

fn main() -> std::process::ExitCode {
    ssan::cli::main()
}
