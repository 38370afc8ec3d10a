//! `ssan completions` and `ssan man`: made from the parser itself.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::output::{print, write};
use crate::error::{Error, Result};
use crate::files;

/// Options of `ssan completions`.
#[derive(Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Options of `ssan man`.
#[derive(Args)]
pub(super) struct ManArgs {
    /// Folder for a page of each command, ssan.1, ssan-train.1, …
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Writes the completions to standard output.
pub(super) fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "ssan", &mut script);
    write(&script)
}

/// Writes the page of `ssan` to standard output, or all pages to a folder.
pub(super) fn man(args: &ManArgs) -> Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let page = |command: &clap::Command| {
        let mut page = Vec::new();
        let rendered = clap_mangen::Man::new(command.clone()).render(&mut page);
        rendered.expect("memory can be written");
        page
    };
    let Some(folder) = &args.out else {
        return write(&page(&command));
    };
    std::fs::create_dir_all(folder)
        .map_err(|e| Error::file(folder, format!("cannot be made: {e}")))?;
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let name = match command.get_name() {
            "ssan" => "ssan".to_string(),
            name => format!("ssan-{name}"),
        };
        let path = folder.join(format!("{name}.1"));
        files::write_atomically(&path, &page(command))?;
        print(&path.display().to_string())?;
    }
    Ok(())
}
