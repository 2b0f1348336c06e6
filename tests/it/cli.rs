//! The command line.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::server::{Server, mundotango};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_configuration_is_shown_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let shown = mundotango(folder.path(), &["config", "show"])
        .env("MUNDOTANGO__AUTH__SECRET", "a secret that is long enough to be one")
        .env("MUNDOTANGO__SESSION__PING_INTERVAL", "12s")
        .output()
        .unwrap();
    let shown = text(&shown);
    assert!(shown.contains("ping_interval = \"12s\"") && shown.contains("secret = \"***\""), "{shown}");
    assert!(!shown.contains("long enough"));

    // What is shown can be a file again, but for the secret.
    let file = folder.path().join("config.toml");
    fs::write(&file, shown.replace("secret = \"***\"\n", "")).unwrap();
    let checked = mundotango(folder.path(), &["config", "check"]).arg(&file).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked));

    fs::write(&file, "[session]\nping_intervall = \"1s\"\n").unwrap();
    let refused = mundotango(folder.path(), &["serve", "--config", file.to_str().unwrap()]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("ping_intervall"), "{}", text(&refused));

    let unknown =
        mundotango(folder.path(), &["config", "check"]).env("MUNDOTANGO__SESION__X", "1").output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown).contains("did you mean MUNDOTANGO__SESSION?"), "{}", text(&unknown));
    assert_eq!(mundotango(folder.path(), &["unknown"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn passwords_in_urls_are_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let mut show = mundotango(folder.path(), &["config", "show"]);
    for (name, value) in [
        ("AUTH__SECRET", "a secret that is long enough to be one"),
        ("CLUSTER__NATS", "nats://ana:natssecret@nats:4222"),
        ("CLUSTER__REDIS", "redis://:redissecret@redis:6379"),
        ("CLUSTER__CQL__NODES", "scylla:9042"),
        ("CLUSTER__CQL__USER", "ana"),
        ("CLUSTER__CQL__PASSWORD", "cqlsecret"),
    ] {
        show.env(format!("MUNDOTANGO__{name}"), value);
    }
    let shown = text(&show.output().unwrap());
    assert!(shown.contains("nats = \"nats://ana:***@nats:4222\""), "{shown}");
    assert!(shown.contains("redis = \"redis://:***@redis:6379\""), "{shown}");
    assert!(!shown.contains("ssecret") && !shown.contains("cqlsecret"), "{shown}");
}

#[test]
fn commands_make_no_data_folder_and_say_which_one_they_mean() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("elsewhere");
    for arguments in [
        &["token", "--user", "42"][..],
        &["user", "create", "--email", "ana@example.com", "--password", "tango-1234"],
        &["migrate"],
        &["migrate", "--dry-run"],
    ] {
        let refused = mundotango(&data_dir, arguments).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{arguments:?}");
        assert!(text(&refused).contains(data_dir.to_str().unwrap()), "{}", text(&refused));
        assert!(!data_dir.exists(), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_has_read_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut shown = mundotango(folder.path(), &["config", "show"]);
    assert!(shown.stdout(writer).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_made_with_and_without_a_running_node() {
    let mut server = Server::start().await;
    let data_dir = server.data_dir();
    let create = |email: &str, password: &str| {
        let arguments = ["user", "create", "--email", email, "--role", "admin", "--password-stdin"];
        let mut child = mundotango(&data_dir, &arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let by_node = create("root@example.com", "tango-admin-1\n");
    assert!(by_node.status.success() && text(&by_node).contains("by the running node"), "{}", text(&by_node));
    let twice = create("root@example.com", "tango-admin-1");
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice).contains("email: is taken"), "{}", text(&twice));

    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let offline = create("other@example.com", "tango-admin-2");
    assert!(offline.status.success(), "{}", text(&offline));
    let weak = create("weak@example.com", "1234");
    assert!(text(&weak).contains("password"), "{}", text(&weak));
    let migrated = mundotango(&data_dir, &["migrate"]).output().unwrap();
    assert!(text(&migrated).contains("format 3"), "{}", text(&migrated));
    let dry_run = mundotango(&data_dir, &["migrate", "--dry-run"]).output().unwrap();
    assert!(text(&dry_run).contains("is at format 3: nothing to do"), "{}", text(&dry_run));

    server.start_again().await;
    for (email, password) in [("root@example.com", "tango-admin-1"), ("other@example.com", "tango-admin-2")] {
        let body = json!({"email": email, "password": password});
        let (status, answer) = server.call(Method::POST, "/api/auth/login", None, Some(body)).await;
        assert_eq!((status, &answer["user"]["role"]), (StatusCode::OK, &json!("admin")));
        let token = answer["token"].as_str().unwrap();
        let (status, tree) = server.call(Method::GET, "/api/admin/system/tree", Some(token), None).await;
        assert_eq!((status, &tree["kind"]), (StatusCode::OK, &json!("supervisor")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_of_root_leaves_files_to_the_folders_owner() {
    // Only root can give a folder away, and only root's commands could leave files that the owner cannot open.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut server = Server::start().await;
    let data_dir = server.data_dir();
    server.signal("TERM");
    assert!(server.wait_for_end().await.success());
    let given = Command::new("chown").args(["-R", "10001:10001"]).arg(data_dir.parent().unwrap()).status();
    assert!(given.unwrap().success());
    let arguments = ["user", "create", "--email", "ana@example.com", "--password", "tango-1234"];
    let created = mundotango(&data_dir, &arguments).output().unwrap();
    assert!(created.status.success(), "{}", text(&created));
    let find =
        Command::new("find").arg(data_dir.join("store")).args(["!", "-uid", "10001"]).output().unwrap();
    assert_eq!(text(&find), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_node_on_the_folder_is_refused() {
    let server = Server::start().await;
    let second = mundotango(&server.data_dir(), &["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second).contains("in use by another process"), "{}", text(&second));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_node_at_once() {
    let settings = [("DRAIN__WINDOW", "20s"), ("DRAIN__DEADLINE", "30s")];
    let mut server = Server::start_with(&settings).await;
    let ana = server.user("ana", "user");
    let _clients = [
        crate::sdk::SdkClient::subscribed(crate::sdk::Sdk::JavaScriptJson, &server, &ana, "posts:feed").await,
        crate::sdk::SdkClient::subscribed(crate::sdk::Sdk::JavaScriptJson, &server, &ana, "posts:feed").await,
    ];
    let start = std::time::Instant::now();
    server.signal("TERM");
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    server.signal("TERM");
    assert_eq!(server.wait_for_end().await.code(), Some(1));
    assert!(start.elapsed().as_secs() < 10);
}
