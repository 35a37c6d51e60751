//! A headless Chromium in a namespace, controlled over the Chrome DevTools Protocol on pipes.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use crate::namespace::{Namespace, SCRATCH};
use crate::process::piped;
use crate::wait::try_wait_until;

/// Time limit for an answer from Chromium, and for a page to reach an expected state.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Connects standard input and output to the descriptors that Chromium uses for the protocol.
const PIPES: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null";

/// The color scheme that the user prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark text on a light background.
    Light,
    /// Light text on a dark background.
    Dark,
}

/// A browser with one page. It is killed on drop.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    /// Number of commands sent.
    sent: u64,
    /// Identifies the page in messages.
    session: String,
    /// Events that no caller has examined.
    events: VecDeque<Value>,
    /// Keeps the namespace's thread alive: the browser is killed when that thread exits.
    _namespace: Namespace,
}

impl Browser {
    /// Starts the browser with an empty page.
    ///
    /// # Errors
    /// Returns an error if Chromium is not installed or does not start.
    pub fn start(namespace: &Namespace) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            PIPES,
            "sh",
            "chromium",
            "--headless",
            "--remote-debugging-pipe",
            "--disable-gpu",
        ]);
        // The lab runs as root, which Chromium's sandbox does not support. Only vipd's pages are
        // opened.
        command.args(["--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"]);
        command.arg(format!("--user-data-dir={SCRATCH}/chromium"));
        let mut process =
            piped(namespace, command).context("starting chromium (`cargo xtask setup --tests`)")?;
        let commands = process.stdin.take().context("no pipe to chromium")?;
        let output = process.stdout.take().context("no pipe from chromium")?;
        let (sender, messages) = channel();
        thread::spawn(move || {
            // Each message ends with a zero byte.
            for message in BufReader::new(output).split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let events = VecDeque::new();
        let mut browser = Self {
            process,
            commands,
            messages,
            sent: 0,
            session: String::new(),
            events,
            _namespace: namespace.clone(),
        };
        let target = browser.command("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.command("Target.attachToTarget", &attach)?;
        session["sessionId"].as_str().context("no session")?.clone_into(&mut browser.session);
        for domain in ["Page", "Runtime", "Log", "DOM"] {
            browser.command(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// Sets the size of the page in CSS pixels, and the color scheme.
    ///
    /// # Errors
    /// Returns an error if Chromium rejects the request.
    pub fn emulate(&mut self, width: u32, height: u32, scheme: Scheme) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.command("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = match scheme {
            Scheme::Light => "light",
            Scheme::Dark => "dark",
        };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.command("Emulation.setEmulatedMedia", &json!({ "features": features }))?;
        Ok(())
    }

    /// Enables or disables JavaScript.
    ///
    /// # Errors
    /// Returns an error if Chromium rejects the request.
    pub fn enable_javascript(&mut self, is_enabled: bool) -> Result<()> {
        self.command("Emulation.setScriptExecutionDisabled", &json!({ "value": !is_enabled }))?;
        Ok(())
    }

    /// Opens a URL.
    ///
    /// # Errors
    /// Returns an error if the page cannot be loaded.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let answer = self.command("Page.navigate", &json!({ "url": url }))?;
        ensure!(answer["errorText"].is_null(), "cannot open {url}: {answer}");
        Ok(())
    }

    /// Returns the value of a JavaScript expression in the page.
    ///
    /// # Errors
    /// Returns an error if the expression throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let answer = self.command(
            "Runtime.evaluate",
            &json!({ "expression": expression, "returnByValue": true, "awaitPromise": true }),
        )?;
        ensure!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].clone())
    }

    /// Waits until a JavaScript expression is true in the page. An expression that throws counts as
    /// false.
    ///
    /// # Errors
    /// Returns an error, with the page's HTML, if the expression does not become true in time.
    pub fn wait_for(&mut self, expression: &str) -> Result<()> {
        let guarded =
            format!("(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()");
        // Evaluation can fail while a page is being loaded.
        let found = try_wait_until(expression, TIMEOUT, || {
            Ok(self.evaluate(&guarded).is_ok_and(|value| value == Value::Bool(true)))
        });
        found.with_context(|| format!("{:?}", self.evaluate("document.documentElement.outerHTML")))
    }

    /// Returns the document as HTML, even if JavaScript is disabled.
    ///
    /// # Errors
    /// Returns an error if there is no document.
    pub fn html(&mut self) -> Result<String> {
        let root = self.command("DOM.getDocument", &json!({ "depth": 0 }))?;
        let html = self.command("DOM.getOuterHTML", &json!({ "nodeId": root["root"]["nodeId"] }))?;
        Ok(html["outerHTML"].as_str().context("no HTML")?.to_owned())
    }

    /// Returns a PNG of the page, cut off below `height` pixels.
    ///
    /// # Errors
    /// Returns an error if Chromium rejects the request.
    pub fn screenshot(&mut self, height: u32) -> Result<Vec<u8>> {
        let size = format!("[innerWidth, Math.min({height}, document.documentElement.scrollHeight)]");
        let size = self.evaluate(&size)?;
        let clip = json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 });
        let answer = self.command(
            "Page.captureScreenshot",
            &json!({ "format": "png", "clip": clip, "captureBeyondViewport": true }),
        )?;
        decode(answer["data"].as_str().context("no image")?).context("the image is not base64")
    }

    /// Returns the events since the last call: exceptions and dialogs of the page, and entries of
    /// the browser's log, such as violations of the content security policy. Log entries about
    /// requests are not included, nor is the output of `console`.
    pub fn complaints(&mut self) -> Vec<Value> {
        self.events.extend(self.messages.try_iter());
        let is_complaint = |event: &Value| match event["method"].as_str() {
            Some("Log.entryAdded") => event["params"]["entry"]["source"] != "network",
            Some(method) => matches!(method, "Runtime.exceptionThrown" | "Page.javascriptDialogOpening"),
            None => false,
        };
        self.events.drain(..).filter(is_complaint).collect()
    }

    fn command(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.sent += 1;
        let mut message = json!({ "id": self.sent, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.clone().into();
        }
        let mut line = message.to_string().into_bytes();
        line.push(0);
        self.commands.write_all(&line).with_context(|| format!("sending {method} to chromium"))?;
        loop {
            let message =
                self.messages.recv_timeout(TIMEOUT).with_context(|| format!("no answer to {method}"))?;
            if message["id"] != self.sent {
                self.events.push_back(message);
            } else if message["error"].is_null() {
                return Ok(message["result"].clone());
            } else {
                bail!("{method}: {}", message["error"]);
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // An error means that the browser has already exited. The browser is the first process of a
        // PID namespace, so the kernel also kills its child processes.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Decodes base64 (RFC 4648 section 4); `None` if a character is not in its alphabet.
fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut group, mut bits) = (0_u32, 0);
    for character in text.trim_end_matches('=').bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = (group << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(group >> bits).ok()?);
            group &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn base64_is_decoded() {
        for (text, expected) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm9vYg==", b"foob"), ("+/8=", &[0xfb, 0xff])]
        {
            assert_eq!(decode(text).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(decode("Zg-_"), None);
    }
}
