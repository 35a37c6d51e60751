//! `vipd run`.

use std::path::Path;

use super::args::ConfigArgs;
use super::logging;
use crate::config::Config;
use crate::control::runtime::RuntimeDir;

/// Checks everything that can be checked without touching the system first.
pub(super) fn run(args: &ConfigArgs, runtime_dir: &Path) -> anyhow::Result<()> {
    let config = Config::load(&args.config)?;
    let _guard = logging::init()?;
    crate::service::check_privileges()?;
    let runtime = RuntimeDir::claim(runtime_dir)?;
    for warning in &config.warnings {
        tracing::warn!("{}:{warning}", args.config.display());
    }
    crate::service::run(config, runtime)
}
