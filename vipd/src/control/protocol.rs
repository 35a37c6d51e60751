//! Messages on the control socket. Each request and each reply is one line of JSON.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Maximum length of a request in bytes, without the newline.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Maximum length in bytes of a reply that a client reads: enough for thousands of instances.
pub const MAX_REPLY_BYTES: u64 = 64 * 1024 * 1024;

/// A request from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// `{"command":"status"}`. The reply is a [`StatusReport`](super::model::StatusReport).
    Status,
    /// `{"command":"stats"}`. The reply is a [`StatsReport`](super::model::StatsReport).
    Stats,
    /// `{"command":"reload"}`: read the configuration file again and apply it. The reply to this
    /// and to the following requests, except `events`, is a
    /// [`ChangeReport`](super::model::ChangeReport).
    Reload,
    /// `{"command":"drain","instances":["VI_1"]}`: hand these instances over to other nodes, or all
    /// instances if the list is empty.
    Drain {
        /// Names of instances or sync groups; all instances if empty.
        instances: Vec<String>,
    },
    /// `{"command":"undrain","instances":["VI_1"]}`: undo `drain`.
    Undrain {
        /// Names of instances or sync groups; all instances if empty.
        instances: Vec<String>,
    },
    /// `{"command":"failover","instances":["VI_1"]}`: hand over mastership of these instances once.
    Failover {
        /// Names of instances or sync groups, at least one. All of these instances must be masters,
        /// and none may be the address owner.
        instances: Vec<String>,
    },
    /// `{"command":"priority","instance":"VI_1","priority":150}`: replace the configured priority,
    /// or restore it if the priority is `null`.
    Priority {
        /// Name of the instance.
        instance: String,
        /// Priority, 1 to 254, or `null`. The key must be present, so that a misspelled key does
        /// not restore the configured priority.
        #[serde(deserialize_with = "Option::deserialize")]
        priority: Option<u8>,
    },
    /// `{"command":"upgrade","executable":"/usr/sbin/vipd"}`: hand over to a new process of this
    /// executable, or of the file at the agent's own path if `executable` is `null`. The reply is
    /// sent before the agent ends, or when the upgrade has failed and the agent continues.
    Upgrade {
        /// Absolute path of the executable. Only root may set it.
        #[serde(default)]
        executable: Option<PathBuf>,
    },
    /// `{"command":"restart","process":1234}`: leave the state to the next process that systemd
    /// starts, and end. Only root may request it. The reply is sent before the agent ends, or when
    /// this is not possible and the agent continues.
    Restart {
        /// The main process of the service that is being restarted. An agent with another process
        /// ID belongs to another service, and refuses.
        process: u32,
    },
    /// `{"command":"events","follow":true}`. The reply is one
    /// [`EventRecord`](super::event::EventRecord) per line: the stored events and, with `follow`,
    /// all later events. Without `follow`, the agent then closes the connection.
    Events {
        /// Whether to send later events.
        #[serde(default)]
        follow: bool,
    },
}

/// The reply to a request that is invalid or cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorReply {
    /// A message for the user.
    pub error: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A misspelled key must not change all instances, or restore a priority.
    #[test]
    fn misspelled_and_missing_keys_are_rejected() {
        let parse = |text: &str| serde_json::from_str::<Request>(text).ok();
        for wrong in [
            r#"{"command":"drain"}"#,
            r#"{"command":"drain","instance":["VI_1"]}"#,
            r#"{"command":"drain","instances":["VI_1"],"more":1}"#,
            r#"{"command":"priority","instance":"VI_1"}"#,
            r#"{"command":"priority","instance":"VI_1","prio":50}"#,
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        let instances = vec!["VI_1".to_owned()];
        assert_eq!(parse(r#"{"command":"drain","instances":["VI_1"]}"#), Some(Request::Drain { instances }));
        let reset = Request::Priority { instance: "VI_1".to_owned(), priority: None };
        assert_eq!(parse(r#"{"command":"priority","instance":"VI_1","priority":null}"#), Some(reset));
    }
}
