//! Contexts: which hub, which key. `contexts.toml`, mode 0600.

use crate::args::Global;
use crate::fail::Failure;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Where a hub is asked if nothing says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:7400";

/// A named way to a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Context {
    /// Base URLs of its nodes; tried in turn.
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// PEM file of the CA to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

impl Context {
    /// As `forge context show -o json` prints it.
    pub fn to_value(&self, name: &str) -> Value {
        json!({"name": name, "url": self.urls.first(), "urls": self.urls, "key": self.key, "project": self.project, "ca": self.ca})
    }
}

/// The file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// `$FORGE_CONFIG_DIR`, else `$XDG_CONFIG_HOME/forge`, else `~/.config/forge`.
    pub fn folder() -> Result<PathBuf, Failure> {
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        set("FORGE_CONFIG_DIR")
            .or_else(|| set("XDG_CONFIG_HOME").map(|d| d.join("forge")))
            .or_else(|| set("HOME").map(|d| d.join(".config/forge")))
            .ok_or_else(|| Failure::usage("set FORGE_CONFIG_DIR: there is no home folder to keep contexts in"))
    }

    /// The file's contexts; none if there is no file.
    pub fn load() -> Result<Contexts, Failure> {
        let path = Contexts::folder()?.join("contexts.toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("reading {}", path.display())).into()),
        };
        toml::from_str(&text).map_err(|e| Failure::usage(format!("{}: {}", path.display(), e.message())))
    }

    /// Writes the file, at once or not at all, for its owner alone.
    pub fn save(&self) -> Result<(), Failure> {
        let folder = Contexts::folder()?;
        let path = folder.join("contexts.toml");
        let write = || -> anyhow::Result<()> {
            std::fs::create_dir_all(&folder)?;
            let aside = folder.join(format!("contexts.toml.{}", std::process::id()));
            private(&aside)?.write_all(toml::to_string(self)?.as_bytes())?;
            std::fs::rename(&aside, &path)?;
            Ok(())
        };
        write().with_context(|| format!("writing {}", path.display())).map_err(Failure::from)
    }

    /// Adds or replaces a context and makes it the current one.
    pub fn keep(name: &str, context: Context) -> Result<(), Failure> {
        let mut contexts = Contexts::load()?;
        contexts.contexts.insert(name.into(), context);
        contexts.current = Some(name.into());
        contexts.save()
    }

    pub fn named(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let known = self.contexts.keys().cloned().collect::<Vec<_>>().join(", ");
            let failure = Failure::new(crate::fail::NOT_FOUND, "not-found", format!("there is no context `{name}`"));
            if known.is_empty() {
                failure.with_fix("`forge context add NAME --url …`")
            } else {
                failure.with_fix(format!("contexts: {known}"))
            }
        })
    }
}

fn private(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The context of this run: flag over environment over file over default.
pub fn resolve(global: &Global) -> Result<(String, Context), Failure> {
    let contexts = Contexts::load()?;
    let (name, mut context) = match global.context.as_ref().or(contexts.current.as_ref()) {
        Some(name) => match contexts.contexts.get(name) {
            Some(context) => (name.clone(), context.clone()),
            // A context that is only named by the file may have been removed by hand.
            None if global.context.is_none() || !global.url.is_empty() => (name.clone(), Context::default()),
            None => (name.clone(), contexts.named(name)?.clone()),
        },
        None => ("default".into(), Context::default()),
    };
    let urls: Vec<String> = global.url.iter().filter(|u| !u.trim().is_empty()).cloned().collect();
    if !urls.is_empty() {
        context.urls = urls;
    }
    if context.urls.is_empty() {
        context.urls.push(DEFAULT_URL.into());
    }
    // An empty variable is one that is not set.
    if let Some(key) = global.key.as_ref().filter(|k| !k.trim().is_empty()) {
        context.key = Some(key.trim().to_string());
    }
    if let Some(ca) = global.ca.as_ref().filter(|c| !c.is_empty()) {
        context.ca = Some(ca.into());
    }
    for url in &mut context.urls {
        let trimmed = url.trim().trim_end_matches('/');
        *url = if trimmed.contains("://") { trimmed.into() } else { format!("http://{trimmed}") };
    }
    Ok((name, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_as_written() {
        let context = Context {
            urls: vec!["https://a:7400".into()],
            key: Some("fk".into()),
            project: None,
            ca: Some("ca.pem".into()),
        };
        let contexts = Contexts { current: Some("dev".into()), contexts: [("dev".to_string(), context)].into() };
        let text = toml::to_string(&contexts).expect("writes");
        assert_eq!(toml::from_str::<Contexts>(&text).expect("reads"), contexts);
    }

    #[test]
    fn a_context_is_shown_with_every_field() {
        let shown = Context { urls: vec!["http://a".into()], ..Context::default() }.to_value("dev");
        let names: Vec<&String> = shown.as_object().expect("object").keys().collect();
        assert_eq!(names, ["name", "url", "urls", "key", "project", "ca"]);
    }
}
