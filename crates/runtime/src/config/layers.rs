//! The layers while they are laid: each key's default, and the value that covers it.

use std::collections::BTreeMap;

use config::{Config, ConfigError, File, FileFormat, Map, Value, ValueKind};

/// Settings by dotted key, and what was wrong with them.
#[derive(Debug)]
pub(super) struct Layers {
    settings: BTreeMap<String, Setting>,
    errors: Vec<String>,
}

#[derive(Debug)]
struct Setting {
    default: ValueKind,
    /// The value that covers the default, and where it comes from.
    set: Option<(ValueKind, String)>,
}

// === impl Layers ===

impl Layers {
    /// The layer below all others.
    pub(super) fn new(defaults: &str) -> Result<Self, String> {
        let settings = leaves(defaults).map_err(|error| format!("defaults: {error}"))?;
        let settings = settings.into_iter().map(|(key, default)| (key, Setting { default, set: None })).collect();
        Ok(Self { settings, errors: Vec::new() })
    }

    /// Lays a TOML document over what is there.
    pub(super) fn document(&mut self, text: &str, source: &str) {
        match leaves(text) {
            Ok(leaves) => leaves.into_iter().for_each(|(key, kind)| self.set(&key, kind, source)),
            Err(error) => self.error(format!("{source}: {error}")),
        }
    }

    /// Lays a single value over what is there, written as text.
    pub(super) fn text(&mut self, key: &str, text: &str, source: &str) {
        let kind = match self.settings.get(key) {
            Some(setting) => read(text, &setting.default),
            None => ValueKind::String(text.to_owned()),
        };
        self.set(key, kind, source);
    }

    fn set(&mut self, key: &str, kind: ValueKind, source: &str) {
        let Some(setting) = self.settings.get_mut(key) else {
            let error = format!("{key}: unknown key (from {source}); {}", self.neighbours(key));
            return self.error(error);
        };
        if same_type(&setting.default, &kind) {
            setting.set = Some((kind, source.to_owned()));
        } else {
            let wanted = name_of(&setting.default);
            self.error(format!("{key} = {}: must be {wanted} (from {source})", show(&kind)));
        }
    }

    /// All settings as the tree that the document is.
    pub(super) fn tree(&self) -> ValueKind {
        let mut root = Map::new();
        for (key, setting) in &self.settings {
            let kind = setting.set.as_ref().map_or(&setting.default, |(kind, _)| kind);
            plant(&mut root, key, kind.clone());
        }
        ValueKind::Table(root)
    }

    /// Notes the value that `error` is about and puts its default back; false when it is not about a value that
    /// somebody set.
    pub(super) fn reject(&mut self, error: &ConfigError) -> bool {
        let (key, what) = match error {
            ConfigError::Type { key: Some(key), expected, .. } => (key, format!("must be {expected}")),
            ConfigError::At { key: Some(key), error, .. } => (key, error.to_string()),
            _ => return false,
        };
        // An element of a list is known by its list.
        let key = key.split('[').next().unwrap_or(key);
        let Some((kind, source)) = self.settings.get_mut(key).and_then(|setting| setting.set.take()) else {
            return false;
        };
        self.error(format!("{key} = {}: {what} (from {source})", show(&kind)));
        true
    }

    /// Adds to a line `key = value: ...` where the value comes from.
    pub(super) fn with_source(&self, line: String) -> String {
        let key = line.split(" = ").next().unwrap_or_default();
        match self.settings.get(key) {
            Some(Setting { set: Some((_, source)), .. }) => format!("{line} (from {source})"),
            Some(Setting { set: None, .. }) => format!("{line} (the default)"),
            None => line,
        }
    }

    pub(super) fn error(&mut self, line: String) {
        self.errors.push(line);
    }

    pub(super) fn into_errors(self) -> Vec<String> {
        self.errors
    }

    /// Says what is allowed near a key that does not exist.
    fn neighbours(&self, key: &str) -> String {
        // The nearest table above the key that exists.
        let mut table = key;
        while let Some((above, _)) = table.rsplit_once('.') {
            table = above;
            let inside = format!("{table}.");
            let names: Vec<_> = self.settings.keys().filter_map(|known| known.strip_prefix(&inside)).collect();
            if !names.is_empty() {
                return format!("[{table}] has {}", names.join(", "));
            }
        }
        let mut tables: Vec<_> = self.settings.keys().filter_map(|known| known.split('.').next()).collect();
        tables.dedup();
        format!("there are {}", tables.join(", "))
    }
}

/// The values of a TOML document, by dotted key.
fn leaves(text: &str) -> Result<Vec<(String, ValueKind)>, String> {
    let document = Config::builder().add_source(File::from_str(text, FileFormat::Toml)).build();
    // TOML's errors are drawn over several lines; ours are one line each.
    let document = document.map_err(|error| error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))?;
    let mut leaves = Vec::new();
    collect(String::new(), document.cache.kind, &mut leaves);
    Ok(leaves)
}

fn collect(path: String, kind: ValueKind, leaves: &mut Vec<(String, ValueKind)>) {
    match kind {
        ValueKind::Table(table) => {
            for (name, value) in table {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                collect(path, value.kind, leaves);
            }
        }
        kind => leaves.push((path, kind)),
    }
}

fn plant(table: &mut Map<String, Value>, path: &str, kind: ValueKind) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), Value::new(None, kind));
        }
        Some((name, rest)) => {
            let inner = table.entry(name.to_owned()).or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            if let ValueKind::Table(inner) = &mut inner.kind {
                plant(inner, rest, kind);
            }
        }
    }
}

/// Reads text as a value of the same type as `like`; text that is none stays text, and is refused as such.
fn read(text: &str, like: &ValueKind) -> ValueKind {
    let unread = || ValueKind::String(text.to_owned());
    match like {
        ValueKind::Boolean(_) => text.parse().map_or_else(|_| unread(), ValueKind::Boolean),
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => {
            text.replace('_', "").parse().map_or_else(|_| unread(), ValueKind::I64)
        }
        ValueKind::Float(_) => text.parse().map_or_else(|_| unread(), ValueKind::Float),
        // Lists are written with commas.
        ValueKind::Array(_) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            ValueKind::Array(items.map(|item| Value::new(None, item)).collect())
        }
        ValueKind::Nil | ValueKind::String(_) | ValueKind::Table(_) => unread(),
    }
}

/// Checked here, since the deserializer is lenient: it takes "yes" for 1 and 2.7 for 3.
fn same_type(default: &ValueKind, kind: &ValueKind) -> bool {
    use ValueKind::{Array, Boolean, Float, I64, I128, Nil, String, Table, U64, U128};
    match default {
        Boolean(_) => matches!(kind, Boolean(_)),
        I64(_) | I128(_) | U64(_) | U128(_) => matches!(kind, I64(_) | I128(_) | U64(_) | U128(_)),
        Float(_) => matches!(kind, Float(_) | I64(_)),
        String(_) => matches!(kind, String(_)),
        Array(_) => matches!(kind, Array(_)),
        Nil | Table(_) => false,
    }
}

fn name_of(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Boolean(_) => "true or false",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a whole number",
        ValueKind::Float(_) => "a number",
        ValueKind::String(_) => "text",
        ValueKind::Array(_) => "a list",
        ValueKind::Nil | ValueKind::Table(_) => "a table",
    }
}

fn show(kind: &ValueKind) -> String {
    match kind {
        ValueKind::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}
