//! Commands that carry all that a store holds: from one engine to another, into a backup and back.

mod files;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use std::{fs, io};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use mundotango_gateway::tokens::Tokens;
use mundotango_storage::Stores;
use mundotango_storage::embedded::{EmbeddedStore, OpenError};
use mundotango_storage::scylla::{self, ScyllaStore};
use mundotango_storage::transfer::{
    self, CheckReport, Decoder, Header, Import, Outcome, Part, Progress, Totals, Trailer,
};
use tokio::sync::mpsc;

use crate::community::roles::Role;
use crate::config::Config;
use crate::data_folder;
use crate::engines::store_path;
use crate::node::VERSION;
use crate::node_client;
use crate::node_file::NodeFile;
use crate::schema::{leads_to, schema};
use files::{StreamReader, StreamWriter};

/// Pieces of a stream that wait between two steps.
const WAITING: usize = 4;
/// How long the token is good with which a command asks a running node for its data: the node looks at it once.
const TOKEN_TTL: Duration = Duration::from_mins(1);
/// The file in the data folder that tells how far an import has come.
const PROGRESS_FILE: &str = "import.json";
/// The route by which a running node gives all that it has.
pub(crate) const EXPORT_PATH: &str = "/api/admin/system/export";

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// File to write; `-` is standard output. A name that ends in .gz is compressed.
    #[arg(long, default_value = "-", value_name = "FILE")]
    to: PathBuf,
    /// A running node to ask, as http://host:port, instead of the configured engines. Its internal listener, if it has one.
    #[arg(long, requires = "token", value_name = "URL")]
    url: Option<String>,
    /// An admin's token for the node. Better in MUNDOTANGO_TOKEN, as everybody on this machine can read the list of processes.
    #[arg(long, env = "MUNDOTANGO_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// File to read; `-` is standard input. Whether it is compressed is seen by itself.
    #[arg(long, default_value = "-", value_name = "FILE")]
    from: PathBuf,
    /// Go on with an import of the same stream that was interrupted.
    #[arg(long)]
    resume: bool,
    /// File that tells how far the import has come [default: import.json in the data folder]
    #[arg(long, value_name = "FILE")]
    progress: Option<PathBuf>,
}

/// Arguments of `backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    /// File to write. A name that ends in .gz is compressed.
    file: PathBuf,
}

/// Arguments of `restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// File to read.
    file: PathBuf,
    /// Go on with a restore of the same backup that was interrupted.
    #[arg(long)]
    resume: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Check a backup, or another stream, instead of the store.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Says something beside a stream that may be on standard output. Nobody may listen any more, which is no error.
fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What commands run on that read or write a whole store.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

/// Writes all that the configured engines, or a running node, hold.
pub(crate) fn export(config: &Config, args: ExportArgs) -> anyhow::Result<ExitCode> {
    // Before the process acts as the owner of a data folder, who may not be allowed to write there.
    let writer = StreamWriter::start(&args.to)?;
    let source = match args.url {
        Some(url) => {
            let address = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/').to_owned());
            let address = address.filter(|address| !address.contains('/')).with_context(|| {
                format!("{url:?} is no http://host:port; where there is only TLS, go through a tunnel")
            })?;
            Source::Node { address, token: args.token.unwrap_or_default() }
        }
        None => Source::configured(config)?,
    };
    let totals = runtime()?.block_on(source.write(config, writer))?;
    tell(Summary(&totals));
    Ok(ExitCode::SUCCESS)
}

/// Writes all that the data folder's store holds.
pub(crate) fn backup(config: &Config, args: &BackupArgs) -> anyhow::Result<ExitCode> {
    refuse_shared(config, "backup", "mundotango export")?;
    anyhow::ensure!(args.file.as_os_str() != "-", "say which file to write");
    let writer = StreamWriter::start(&args.file)?;
    let source = Source::configured(config)?;
    let totals = runtime()?.block_on(source.write(config, writer))?;
    tell(Summary(&totals));
    Ok(ExitCode::SUCCESS)
}

fn refuse_shared(config: &Config, command: &str, other: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        !config.cluster.is_shared(),
        "{command} is for a data folder, and the configuration names a cluster: use {other}"
    );
    Ok(())
}

/// Reads a stream into the configured engines.
pub(crate) fn import(config: &Config, args: ImportArgs) -> anyhow::Result<ExitCode> {
    let progress = args.progress.unwrap_or_else(|| config.data_dir.join(PROGRESS_FILE));
    read_into(config, &args.from, progress, args.resume)
}

/// Reads a backup into a data folder.
pub(crate) fn restore(config: &Config, args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    refuse_shared(config, "restore", "mundotango import")?;
    read_into(config, &args.file, config.data_dir.join(PROGRESS_FILE), args.resume)
}

fn read_into(config: &Config, from: &Path, progress: PathBuf, resume: bool) -> anyhow::Result<ExitCode> {
    let reader = StreamReader::start(from)?;
    if let Some(folder) = progress.parent() {
        data_folder::make(folder)?;
    }
    let progress = ProgressFile(progress);
    let before = if resume { Some(progress.read()?) } else { None };
    if config.cluster.is_shared() {
        let outcome = runtime()?.block_on(async {
            let store = connect(config, true).await?;
            read_stream(&store.stores(), reader, &progress, before.as_ref()).await
        });
        return told(&outcome?);
    }
    data_folder::make(&config.data_dir)?;
    data_folder::act_as_owner(&config.data_dir)?;
    let store = EmbeddedStore::open(&store_path(&config.data_dir), &config.store, &schema())?;
    let outcome = runtime()?.block_on(read_stream(&store.stores(), reader, &progress, before.as_ref()));
    store.close();
    told(&outcome?)
}

fn told(outcome: &Outcome) -> anyhow::Result<ExitCode> {
    tell(outcome);
    anyhow::ensure!(outcome.is_equal(), "the store does not hold what the stream does");
    Ok(ExitCode::SUCCESS)
}

/// Reads all of a store, or of a stream, and tells what is wrong.
pub(crate) fn check(config: &Config, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    if let Some(file) = &args.file {
        let reader = StreamReader::start(file)?;
        let trailer = runtime()?.block_on(look_through(reader))?;
        tell(Summary(&trailer.totals));
        return Ok(ExitCode::SUCCESS);
    }
    let report: CheckReport = if config.cluster.is_shared() {
        runtime()?.block_on(async {
            let store = connect(config, false).await?;
            anyhow::Ok(transfer::check(&store.stores(), &schema(), leads_to).await?)
        })?
    } else {
        let path = data_folder::existing_store(&config.data_dir)?;
        data_folder::act_as_owner(&path)?;
        let store = EmbeddedStore::open(&path, &config.store, &schema()).map_err(|error| match error {
            OpenError::Locked { .. } => {
                anyhow::anyhow!("{error}: stop it, or make a backup and check that with --file")
            }
            error => error.into(),
        })?;
        let report = runtime()?.block_on(transfer::check(&store.stores(), &schema(), leads_to));
        store.close();
        report?
    };
    tell(&report);
    Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connects with the CQL servers, whose tables are made where a node would make them.
pub(crate) async fn connect(config: &Config, makes_tables: bool) -> anyhow::Result<ScyllaStore> {
    let options = &config.cluster.cql;
    if makes_tables && options.migrate {
        scylla::migrate(options, &schema(), false).await?;
    }
    let store = ScyllaStore::connect(options, &schema()).await?;
    let pending = store.pending_migrations().await?;
    anyhow::ensure!(
        pending.is_empty(),
        "tables are missing ({}): run mundotango migrate",
        pending.join(", ")
    );
    Ok(store)
}

/// Where a stream comes from.
enum Source {
    /// CQL servers.
    Shared,
    /// A data folder that no node has open.
    Folder(EmbeddedStore),
    /// A running node.
    Node { address: String, token: String },
}

impl Source {
    /// The configured engines; the running node where it has the data folder open.
    fn configured(config: &Config) -> anyhow::Result<Self> {
        if config.cluster.is_shared() {
            return Ok(Self::Shared);
        }
        let path = data_folder::existing_store(&config.data_dir)?;
        data_folder::act_as_owner(&path)?;
        match EmbeddedStore::open(&path, &config.store, &schema()) {
            Ok(store) => Ok(Self::Folder(store)),
            Err(error @ OpenError::Locked { .. }) => {
                let node = NodeFile::read(&config.data_dir)
                    .with_context(|| format!("{error}, which does not say where it listens"))?;
                Self::node(config, node.commands())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The node that has the data folder open, in whose name the folder's secret speaks.
    fn node(config: &Config, address: SocketAddr) -> anyhow::Result<Self> {
        let secret = data_folder::existing_secret(config)?;
        let tokens = Tokens::new(secret.expose().as_bytes(), TOKEN_TTL);
        let token = tokens.issue("command-line", Role::Admin.as_str(), None)?;
        Ok(Self::Node { address: address.to_string(), token })
    }

    /// Writes the stream, and what it holds when all is written.
    async fn write(self, config: &Config, mut writer: StreamWriter) -> anyhow::Result<Totals> {
        let (out, mut pieces) = mpsc::channel::<Bytes>(WAITING);
        let reading = async {
            match &self {
                Self::Shared => {
                    let store = connect(config, false).await?;
                    write_store(&store.stores(), "cql", out).await
                }
                Self::Folder(store) => write_store(&store.stores(), "embedded", out).await,
                Self::Node { address, token } => node_client::stream(address, EXPORT_PATH, token, out)
                    .await
                    .with_context(|| format!("the node on {address} did not give its data")),
            }
        };
        let writing = async {
            let (mut decoder, mut trailer) = (Decoder::default(), None);
            while let Some(piece) = pieces.recv().await {
                // What is written is looked through on the way, so that a backup is known to be whole.
                for part in decoder.feed(&piece)? {
                    if let Part::Trailer(last) = part {
                        trailer = Some(last);
                    }
                }
                writer.write(piece).await?;
            }
            anyhow::Ok((decoder, trailer))
        };
        let (read, written) = tokio::join!(reading, writing);
        let (decoder, trailer) = match (read, written) {
            (Ok(()), Ok(written)) => written,
            // A writer that fails is why nobody reads any more.
            (_, Err(error)) | (Err(error), Ok(_)) => return Err(error),
        };
        decoder.end()?;
        writer.finish().await?;
        if let Self::Folder(store) = &self {
            store.close();
        }
        Ok(trailer.context("no trailer")?.totals)
    }
}

async fn write_store(stores: &Stores, engine: &str, out: mpsc::Sender<Bytes>) -> anyhow::Result<()> {
    let schema = schema();
    transfer::export(stores, &schema, Header::new(&schema, VERSION, engine), out).await?;
    Ok(())
}

/// The file that tells how far an import has come.
struct ProgressFile(PathBuf);

impl ProgressFile {
    fn read(&self) -> anyhow::Result<Progress> {
        let shown = self.0.display();
        let text = fs::read(&self.0)
            .with_context(|| format!("there is no import to go on with: cannot read {shown}"))?;
        serde_json::from_slice(&text).with_context(|| format!("{shown} does not tell how far it came"))
    }

    fn write(&self, progress: &Progress) -> anyhow::Result<()> {
        let beside = self.0.with_extension("new");
        let written = fs::File::create(&beside).and_then(|mut file| {
            file.write_all(&serde_json::to_vec(progress)?)?;
            file.sync_all()?;
            fs::rename(&beside, &self.0)
        });
        written.with_context(|| format!("cannot write {}", self.0.display()))
    }
}

/// Reads a stream into a store.
async fn read_stream(
    stores: &Stores,
    mut reader: StreamReader,
    progress: &ProgressFile,
    before: Option<&Progress>,
) -> anyhow::Result<Outcome> {
    let (mut decoder, mut import, mut trailer) = (Decoder::default(), None, None::<Trailer>);
    let mut stream = String::new();
    while let Some(piece) = reader.next().await? {
        for part in decoder.feed(&piece)? {
            match (part, &mut import) {
                (Part::Header(header), _) => {
                    import = Some(Import::begin(stores, &schema(), &header, before).await?);
                    stream.clone_from(&header.stream);
                    if before.is_none() {
                        // Before anything is written: what is then there is known to be this stream's.
                        progress.write(&Progress { stream: stream.clone(), block: 0 })?;
                    }
                }
                (Part::Block(block), Some(import)) => {
                    let number = block.number;
                    import.block(block).await?;
                    if before.is_none_or(|before| number > before.block) {
                        progress.write(&Progress { stream: stream.clone(), block: number })?;
                    }
                }
                (Part::Trailer(last), _) => trailer = Some(last),
                (Part::Block(_), None) => anyhow::bail!("the stream has no header"),
            }
        }
    }
    decoder.end()?;
    let (Some(import), Some(trailer)) = (import, trailer) else { anyhow::bail!("the stream is empty") };
    let outcome = import.finish(&trailer).await?;
    if outcome.is_equal() {
        // What is left over would only be in the way of another import.
        let _ = fs::remove_file(&progress.0);
    }
    Ok(outcome)
}

/// Reads a stream to its end; its trailer.
async fn look_through(mut reader: StreamReader) -> anyhow::Result<Trailer> {
    let (mut decoder, mut trailer) = (Decoder::default(), None);
    while let Some(piece) = reader.next().await? {
        for part in decoder.feed(&piece)? {
            match part {
                Part::Trailer(last) => trailer = Some(last),
                Part::Block(block) => block.check(&schema())?,
                Part::Header(_) => {}
            }
        }
    }
    decoder.end()?;
    trailer.context("no trailer")
}

/// What a stream holds, for a person.
struct Summary<'a>(&'a Totals);

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<20} {:>12} {:>12} {:>15}", "table", "partitions", "rows", "bytes")?;
        for (name, total) in &self.0.0 {
            let (partitions, rows, bytes) = (total.partitions, total.rows, total.bytes);
            write!(f, "\n{name:<20} {partitions:>12} {rows:>12} {bytes:>15}")?;
        }
        Ok(())
    }
}
