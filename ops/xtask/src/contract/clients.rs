//! Clients in TypeScript, as three makers make them of the document.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::folder;
use super::node::Node;
use crate::postman::DOCUMENT;
use crate::{parts, root, run};

/// The programs that use a client each.
const USERS: [&str; 3] = ["openapi-fetch", "orval", "openapi-generator"];

/// A program of the folder's packages.
pub(super) fn tool(name: &str) -> Command {
    let mut command = Command::new(folder().join("node_modules/.bin").join(name));
    command.current_dir(folder());
    command
}

/// Makes the clients anew and compiles them together with what uses them.
pub(super) fn make() -> anyhow::Result<()> {
    let (document, generated) = (root().join(DOCUMENT), folder().join("generated"));
    let _ = fs::remove_dir_all(&generated);
    fs::create_dir_all(&generated)?;
    let mut types = tool("openapi-typescript");
    run(types.arg(&document).arg("-o").arg(generated.join("openapi-typescript/api.d.ts")))?;
    run(tool("orval").env("MUNDOTANGO_DOCUMENT", &document))?;
    let mut generator = Command::new("java");
    generator.arg("-jar").arg(generator_program()?).args(["generate", "-g", "typescript-fetch", "-i"]);
    generator.arg(&document).arg("-o").arg(generated.join("openapi-generator"));
    // As a module of today, and texts that name one of a few as TypeScript has them.
    generator.args(["--additional-properties", "importFileExtension=.js,stringEnums=false,supportsES6=true"]);
    let log = fs::File::create(generated.join("openapi-generator.log"))?;
    let status = generator.current_dir(folder()).stdout(log.try_clone()?).stderr(log).status();
    let is_made = status.context("cannot run java")?.success();
    let log = || fs::read_to_string(generated.join("openapi-generator.log")).unwrap_or_default();
    anyhow::ensure!(is_made, "openapi-generator: {}", log());
    run(tool("tsc").args(["--project", "tsconfig.json"]))
}

/// The program of openapi-generator, of which Maven brings the version in `pom.xml`.
fn generator_program() -> anyhow::Result<PathBuf> {
    parts::need("mvn", "maven")?;
    parts::need("java", "default-jre-headless")?;
    let libraries = parts::folder().join("openapi-generator");
    parts::unless_done(&libraries.join(".installed"), &folder().join("pom.xml"), || {
        fs::create_dir_all(&libraries)?;
        let directory = format!("-DoutputDirectory={}", libraries.display());
        run(Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", &directory])
            .current_dir(folder()))
    })?;
    let mut programs = fs::read_dir(&libraries)?.filter_map(|entry| Some(entry.ok()?.path()));
    programs
        .find(|path| path.extension().is_some_and(|ending| ending == "jar"))
        .context("no openapi-generator")
}

/// Registers, logs in, posts and reads by each client.
pub(super) fn use_all(node: &Node) -> anyhow::Result<()> {
    for user in USERS {
        let program = folder().join("generated/compiled").join(format!("{user}.js"));
        run(Command::new("node").arg(program).current_dir(folder()).env("MUNDOTANGO_URL", node.url()))?;
    }
    Ok(())
}
