//! `track_interface`, `track_script`, `track_process` and `track_file`.

use super::check::Checks;
use super::context::Context;
use crate::import::keywords::{self, Block, Kind};
use crate::import::report::Position;
use crate::import::toml::Value;
use crate::import::tree::Statement;

/// Largest absolute value of a weight.
const MAX_WEIGHT: i16 = 253;

/// The kind of a tracked object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Object {
    Interface,
    Script,
    Process,
    File,
}

impl Object {
    /// Returns vipd's key.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Interface => "interface",
            Self::Script => "script",
            Self::Process => "process",
            Self::File => "file",
        }
    }

    fn of_keyword(keyword: &str) -> Option<Self> {
        match keyword {
            "track_interface" => Some(Self::Interface),
            "track_script" => Some(Self::Script),
            "track_process" => Some(Self::Process),
            "track_file" => Some(Self::File),
            _ => None,
        }
    }
}

/// Change of the priority by the state of a tracked object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    /// The weight; 0 if the object causes a fault instead.
    pub(super) value: i16,
    pub(super) is_reverse: bool,
}

/// A tracked object, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Track {
    at: Position,
    object: Object,
    /// Name in keepalived's configuration.
    name: String,
    /// `None` to use the weight of the check.
    weight: Option<Weight>,
    /// Whether the object is a check that is not defined before this line.
    is_used_early: bool,
}

/// The kind of instance or group that tracks an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A group, an instance without a group, or an instance of a group to which the weights of the
    /// members' objects apply.
    Independent,
    /// An instance of any other group. Among its objects with weights, keepalived ignores scripts
    /// and files, and treats interfaces as if they had no weight.
    Member,
    /// An instance with priority 255. keepalived ignores all its interfaces, scripts and files with
    /// weights.
    AddressOwner,
}

/// Returns whether a statement tracks objects, and translates it if so.
pub(super) fn read(statement: &Statement, tracks: &mut Vec<Track>, context: &mut Context<'_>) -> bool {
    let Some(object) = Object::of_keyword(statement.keyword()) else { return false };
    for line in statement.children() {
        let (name, options) = (line.keyword().to_owned(), line.arguments());
        let weight = weight(&line.at, options, context);
        let is_used_early = object != Object::Interface && !context.defined.contains(&(object, name.clone()));
        tracks.push(Track { at: line.at.clone(), object, name, weight, is_used_early });
    }
    true
}

/// Parses `[weight N] [reverse]`. Reports invalid weights and unknown options.
pub(super) fn weight(at: &Position, options: &[String], context: &mut Context<'_>) -> Option<Weight> {
    let mut weight: Option<Weight> = None;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let kind = keywords::find(Block::Track, word).map(|keyword| keyword.kind);
        match word.as_str() {
            "weight" => {
                let value = words.next().and_then(|text| text.parse::<i32>().ok());
                match value {
                    Some(value) => weight.get_or_insert_default().value = limited(at, value, context),
                    None => context.attention(at, "`weight` has no number; it is left out; correct it"),
                }
            }
            "reverse" => weight.get_or_insert_default().is_reverse = true,
            _ if matches!(kind, Some(Kind::NotNeeded(_))) => {}
            _ => context.attention(
                at,
                format!("unknown option `{}` of a tracked object; correct it", word.escape_debug()),
            ),
        }
    }
    weight
}

/// Parses `weight N [reverse]` of a check.
pub(super) fn default_weight(statement: &Statement, context: &mut Context<'_>) -> Option<Weight> {
    weight(&statement.at, &statement.words, context)
}

fn limited(at: &Position, value: i32, context: &mut Context<'_>) -> i16 {
    let limited = value.clamp((-MAX_WEIGHT).into(), MAX_WEIGHT.into());
    if limited != value {
        context.attention(
            at,
            format!("`weight` is {value}; vipd allows -253 to 253; {limited} is used; check whether this is acceptable"),
        );
    }
    i16::try_from(limited).unwrap_or(MAX_WEIGHT)
}

impl Track {
    /// Returns whether this is an interface with this name.
    pub(super) fn is_interface(&self, name: Option<&str>) -> bool {
        self.object == Object::Interface && Some(self.name.as_str()) == name
    }

    /// Reports that the object is the interface of its instance.
    pub(super) fn report_own_interface(&self, context: &mut Context<'_>) {
        context.note(
            &self.at,
            format!("{:?} is left out: an instance always tracks its own interface", self.name),
        );
    }

    /// Returns the element of `track`. Reports the reason and returns `None` if the object is not
    /// defined, if keepalived ignores it, or if vipd has no equivalent.
    pub(super) fn translate(&self, checks: &Checks, role: Role, context: &mut Context<'_>) -> Option<Value> {
        let Self { at, object, name, weight, is_used_early } = self;
        let defined = checks.find(*object, name);
        if defined.is_none() && *object != Object::Interface {
            context.attention(
                at,
                format!("no {} is named {name:?}; it is left out; correct the name", object.key()),
            );
            return None;
        }
        if *is_used_early {
            context.attention(
                at,
                format!(
                    "the {0} {name:?} is not tracked: keepalived ignores it, too, because the {0} is defined after this \
                     line; add it to `track`, or move its definition and repeat the import",
                    object.key()
                ),
            );
            return None;
        }
        let mut weight = weight.or(defined.and_then(|check| check.weight)).unwrap_or_else(|| match object {
            Object::File => Weight { value: 1, is_reverse: false },
            _ => Weight::default(),
        });
        let reason = match role {
            Role::Independent => None,
            _ if *object == Object::Process || weight.value == 0 => None,
            Role::Member => Some("because its instance is in a group"),
            Role::AddressOwner => Some("because its instance is an address owner"),
        };
        if let Some(reason) = reason {
            // keepalived treats a file's weight of 1 as not configured, and tracks the file without
            // a weight.
            let is_fault = *object == Object::File && weight.value == 1;
            if !is_fault && (role, *object) != (Role::Member, Object::Interface) {
                context.note(at, format!("{name:?} is not tracked: keepalived ignores it, too, {reason}"));
                return None;
            }
            context.note(
                at,
                format!("the weight of {name:?} is left out: keepalived ignores it, too, {reason}"),
            );
            weight.value = 0;
        }
        if weight.is_reverse {
            let Some(Kind::Unsupported(remedy)) =
                keywords::find(Block::Track, "reverse").map(|keyword| keyword.kind)
            else {
                return None;
            };
            context
                .attention(at, format!("`reverse` is not translated, and {name:?} is not tracked: {remedy}"));
            return None;
        }
        if *object == Object::File && weight.value == 0 {
            context.attention(
                at,
                format!(
                    "a file with weight 0 is not translated, and {name:?} is not tracked: in vipd, a number in a file only \
                     changes the priority; use a `[[script]]` that compares the number with 0"
                ),
            );
            return None;
        }
        let name = defined.map_or_else(|| name.clone(), |check| check.name.clone());
        let mut element = vec![(object.key(), Value::Text(name))];
        if weight.value != 0 {
            element.push(("weight", Value::Weight(weight.value)));
        }
        Some(Value::Inline(element))
    }
}
