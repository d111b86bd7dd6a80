//! Where the configuration comes from: a file, the environment, options; and the secrets kept in the data folder.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::layer::{Layer, VARIABLE_PREFIX, merge};
use super::{Config, Secret};

/// The two keys that are never empty.
#[derive(Debug, Clone)]
pub struct Secrets {
    pub app_secret: Secret,
    pub api_key: Secret,
}

/// Reads every layer.
pub fn load(file: Option<&Path>, data_dir: Option<&Path>, options: &[String]) -> anyhow::Result<Config> {
    let mut layers = Vec::new();
    if let Some(path) = file {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).with_context(|| format!("{name} cannot be read"))?;
        layers.push(Layer::from_toml(&name, &text)?);
    }
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(VARIABLE_PREFIX)) else { continue };
        let value = value.to_str().with_context(|| format!("{name} is not UTF-8"))?;
        if let Some(layer) = Layer::from_variable(name, value) {
            layers.push(layer?);
        }
    }
    if let Some(path) = data_dir {
        let path = path.to_str().context("--data is not UTF-8")?;
        layers.push(Layer::from_assignment("--data", "data_dir", path)?);
    }
    for option in options {
        layers.push(Layer::from_option(option)?);
    }
    Ok(merge(&layers)?)
}

/// The configured secrets, or those of the data folder, which is made with fresh ones at the first start.
pub fn secrets(config: &Config) -> anyhow::Result<Secrets> {
    let folder = &config.data_dir;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))?;
    Ok(Secrets {
        app_secret: configured_or_kept(&config.app.secret, &folder.join("app-secret"))?,
        api_key: configured_or_kept(&config.app.api_key, &folder.join("api-key"))?,
    })
}

fn configured_or_kept(configured: &Secret, path: &Path) -> anyhow::Result<Secret> {
    if !configured.0.is_empty() {
        return Ok(configured.clone());
    }
    if let Some(secret) = read_kept(path)? {
        return Ok(secret);
    }
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    keep(path, &URL_SAFE_NO_PAD.encode(bytes)).with_context(|| format!("{} cannot be written", path.display()))?;
    // Another process may have been first: what the file says holds for both.
    read_kept(path)?.with_context(|| format!("{} has vanished", path.display()))
}

fn read_kept(path: &Path) -> anyhow::Result<Option<Secret>> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => {
            anyhow::bail!("{} is empty: remove it, or put the secret into it", path.display())
        }
        Ok(text) => Ok(Some(Secret(text.trim().to_owned()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
    }
}

/// Whole or not at all: written beside, then linked into place unless someone else was first.
fn keep(path: &Path, secret: &str) -> std::io::Result<()> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    writeln!(file, "{secret}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    match linked {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_to_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("deep/data");
        let config = load(None, Some(&data), &[]).unwrap();
        let first = secrets(&config).unwrap();
        let second = secrets(&config).unwrap();
        assert_eq!(first.app_secret, second.app_secret);
        assert_ne!(first.app_secret, first.api_key);
        assert!(first.app_secret.0.len() >= 43);
        for name in ["app-secret", "api-key"] {
            assert_eq!(fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(&data).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn a_configured_secret_is_taken_and_an_empty_file_refused() {
        let folder = tempfile::tempdir().unwrap();
        let options = ["app.secret=mine".to_owned()];
        let config = load(None, Some(folder.path()), &options).unwrap();
        fs::write(folder.path().join("api-key"), "\n").unwrap();
        assert!(secrets(&config).unwrap_err().to_string().contains("is empty"));
        fs::write(folder.path().join("api-key"), "theirs\n").unwrap();
        let secrets = secrets(&config).unwrap();
        assert_eq!((secrets.app_secret.0.as_str(), secrets.api_key.0.as_str()), ("mine", "theirs"));
    }
}
