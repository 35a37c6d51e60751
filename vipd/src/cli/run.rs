//! `vipd run`.

use std::path::Path;

use super::args::ConfigArgs;
use super::logging;
use crate::config::Config;
use crate::control::runtime::RuntimeDir;

/// Checks what needs no agent first, so that a mistake is told at once and nothing was touched.
pub(super) fn run(args: &ConfigArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    crate::service::check_privileges()?;
    let runtime = RuntimeDir::claim(runtime_dir)?;
    let _guard = logging::init()?;
    for warning in &config.warnings {
        tracing::warn!("{}:{warning}", args.config.display());
    }
    crate::service::run(config, runtime)
}
