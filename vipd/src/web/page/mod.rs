//! The status page: a document, its style, its script and its icon, all part of the binary.
//!
//! The agent renders all HTML; the script replaces elements with newer ones, and writes values into
//! their slots. The page therefore looks the same without JavaScript, and all text is escaped in
//! one place. Text that changes with each snapshot is kept separate from the HTML, so that a page
//! update of an idle agent consists of this text alone.

mod errors;
mod html;
mod instance;
mod summary;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::iter::once;

use serde::Serialize;

use self::html::{Text, Values};
use super::Scrape;

/// A file of the page, with its media type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asset {
    pub(super) media_type: &'static str,
    pub(super) text: &'static str,
}

/// Media type of the document.
pub(super) const HTML: &str = "text/html; charset=utf-8";

/// The browser loads nothing from other hosts, runs no inline script, and does not show the page in
/// a frame of another site.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Later rules override earlier ones.
const STYLE: &str = concat!(
    include_str!("style/base.css"),
    include_str!("style/instances.css"),
    include_str!("style/lists.css"),
    include_str!("style/narrow.css")
);

const ASSETS: [(&str, Asset); 3] = [
    ("/style.css", Asset { media_type: "text/css; charset=utf-8", text: STYLE }),
    ("/page.js", Asset { media_type: "text/javascript; charset=utf-8", text: include_str!("page.js") }),
    ("/icon.svg", Asset { media_type: "image/svg+xml", text: include_str!("icon.svg") }),
];

/// Returns the page's style, script or icon, whichever has this path.
pub(super) fn asset(path: &str) -> Option<Asset> {
    ASSETS.iter().find(|(name, _)| *name == path).map(|(_, asset)| *asset)
}

/// Returns the document that is served while there is no snapshot. It reloads itself.
pub(super) fn unavailable(reason: &str) -> String {
    format!(include_str!("unavailable.html"), reason = Text(reason))
}

/// Maximum number of instances that the page shows. The limit saves memory when clients are slow.
const MAX_INSTANCES: usize = 255;

/// The contents of the page at a point in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    title: String,
    /// Hash of the agent's version, the page's files and the instances' names. A document with
    /// another layout may lack elements of this frame, so the browser reloads it.
    layout: String,
    summary: Element,
    instances: Vec<Element>,
    timeline: Element,
    errors: Element,
}

/// An element of the page that may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Element {
    /// `id` of the element in the document.
    id: String,
    /// HTML of the element, with empty slots.
    html: String,
    values: Values,
}

impl Element {
    /// Returns the HTML with its values.
    fn filled(&self) -> String {
        self.values.fill(&self.html)
    }
}

/// The part of a frame that is sent to a browser.
#[derive(Serialize)]
struct Update<'a> {
    title: &'a str,
    layout: &'a str,
    elements: Vec<&'a Element>,
    /// Values of other elements, by `id` and position.
    values: BTreeMap<&'a str, BTreeMap<usize, &'a str>>,
}

impl Frame {
    /// Renders a snapshot.
    pub(super) fn new(scrape: &Scrape) -> Self {
        let element = |id: &str, (html, values)| Element { id: id.to_owned(), html, values };
        let instances = scrape.status.instances.iter().zip(&scrape.stats.instances).take(MAX_INSTANCES);
        let instances = instances.enumerate().map(|(index, (status, stats))| {
            let id = id(index);
            element(&id, instance::render(&id, status, &stats.statistics, &scrape.problems))
        });
        Self {
            title: summary::title(scrape),
            layout: layout(scrape),
            summary: element("summary", summary::render(scrape)),
            instances: instances.collect(),
            timeline: element("timeline", (timeline::render(&scrape.events), Values::default())),
            errors: element("errors", errors::render(&scrape.stats)),
        }
    }

    /// Returns the complete document.
    pub(super) fn document(&self) -> String {
        let instances: String = self.instances.iter().map(Element::filled).collect();
        format!(
            include_str!("document.html"),
            title = Text(&self.title),
            layout = self.layout,
            summary = self.summary.filled(),
            instances = instances,
            timeline = self.timeline.html,
            errors = self.errors.filled(),
        )
    }

    /// Returns the changes since `former` as JSON, without newlines: elements whose HTML differs,
    /// and the values of other elements that differ. Without `former`, or if its layout differs,
    /// returns all elements.
    pub(super) fn update(&self, former: Option<&Self>) -> String {
        let former = former.filter(|former| former.layout == self.layout);
        let (mut elements, mut values) = (Vec::new(), BTreeMap::new());
        match former {
            None => elements.extend(self.elements()),
            Some(former) => {
                for (element, known) in self.elements().zip(former.elements()) {
                    if element.html != known.html {
                        elements.push(element);
                    } else if element.values != known.values {
                        let changes = element.values.changes(&known.values).collect();
                        values.insert(element.id.as_str(), changes);
                    }
                }
            }
        }
        let update = Update { title: &self.title, layout: &self.layout, elements, values };
        // Strings can always be encoded.
        serde_json::to_string(&update).unwrap_or_default()
    }

    fn elements(&self) -> impl Iterator<Item = &Element> {
        once(&self.summary).chain(&self.instances).chain([&self.timeline, &self.errors])
    }
}

/// Returns the identifier of an instance's element.
fn id(index: usize) -> String {
    format!("instance-{index}")
}

fn layout(scrape: &Scrape) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    ASSETS.map(|(_, asset)| asset.text).hash(&mut hasher);
    for instance in &scrape.status.instances {
        instance.name.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}
