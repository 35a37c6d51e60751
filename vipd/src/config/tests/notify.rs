//! Rules for `notify` and `control`.

use super::*;

#[test]
fn commands_of_each_state_are_read() {
    let notify = parsed(
        "notify = { master = [\"/bin/m\", \"x\"], any = [\"/bin/a\"], user = \"root\", timeout = \"3s\" }",
    )
    .notify
    .expect("commands");
    assert_eq!(notify.master.as_deref(), Some(&["/bin/m".to_owned(), "x".to_owned()][..]));
    assert_eq!(notify.any.as_deref(), Some(&["/bin/a".to_owned()][..]));
    assert_eq!((&notify.backup, &notify.fault, &notify.stop), (&None, &None, &None));
    assert_eq!((notify.timeout, notify.user.as_ref().map(|user| user.uid)), (3_000_000_000, Some(0)));
    let defaults = parsed("notify = { stop = [\"/bin/s\"] }").notify.expect("commands");
    assert_eq!((defaults.timeout, &defaults.user), (10_000_000_000, &None));
}

#[test]
fn invalid_notifications_are_rejected() {
    assert_rows(&[
        (
            "notify = {}",
            "6:10: notify has no command; add `master`, `backup`, `fault`, `stop` or `any`, or remove the table",
        ),
        (
            "notify = { master = \"/bin/m\" }",
            "6:21: notify.master is a string; it must be an array of strings: the absolute path of an executable, and its \
             arguments; use e.g. `master = [\"/etc/vipd/notify\", \"master\"]`",
        ),
        (
            "notify = { master = [\"/bin/m\", 3] }",
            "6:32: notify.master is an integer; it must be an array of strings: the absolute path of an executable, and \
             its arguments; use e.g. `master = [\"/etc/vipd/notify\", \"master\"]`",
        ),
        (
            "notify = { any = [\"/bin/m\"], user = \"\" }",
            "6:37: notify.user is \"\", which is not a user of this system; create the user, or specify an existing one",
        ),
        (
            "notify = { any = [\"/bin/m\"], user = \"no-such-user\" }",
            "6:37: notify.user is \"no-such-user\", which is not a user of this system; create the user, or specify an existing one",
        ),
    ]);
}

#[test]
fn fifo_is_set_at_the_top_of_the_file() {
    let source = format!("notify = {{ fifo = \"/run/vipd/notify\" }}\n{}", with(""));
    let config = Config::parse(&source, "f").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.notifications.fifo, Some("/run/vipd/notify".into()));
    let relative = source.replace("/run/", "");
    assert_eq!(
        problems(&relative),
        "1:19: notify.fifo is \"vipd/notify\"; it must be an absolute path; begin it with `/`"
    );
}

#[test]
fn groups_grant_access_to_the_control_socket() {
    let source = format!("control = {{ read_group = \"root\" }}\n{}", with(""));
    let config = Config::parse(&source, "f").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.control.read_group.map(|group| (group.name, group.gid)), Some(("root".to_owned(), 0)));
    assert_eq!(config.control.admin_group, None);
    assert_eq!(
        problems(&source.replace("root", "no-such-group")),
        "1:26: control.read_group is \"no-such-group\", which is not a group of this system; create the group, or specify \
         an existing one"
    );
}
