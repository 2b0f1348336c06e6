//! The command line.

use std::fmt::Display;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use http::Method;
use mundotango_gateway::tokens::Tokens;
use mundotango_gateway::{NewId, input};
use mundotango_storage::db::Db;
use mundotango_storage::embedded::{self, EmbeddedStore, FORMAT_VERSION, OLDEST_FORMAT, OpenError};
use mundotango_storage::scylla::{self, ScyllaStore};
use serde_json::{Value, json};

use crate::community::accounts::passwords::Passwords;
use crate::community::accounts::store::AccountStore;
use crate::community::accounts::{self, NewAccount, NewUser};
use crate::community::roles::Role;
use crate::config::{Config, ConfigSource, Overrides};
use crate::data_folder;
use crate::doctor::{self, DoctorArgs};
use crate::email::write_preview;
use crate::jobs_cli::{self, JobsCommand};
use crate::node;
use crate::running_node::RunningNode;
use crate::schema::schema;
use crate::seed::{self, SeedArgs};
use crate::transfer::{self, BackupArgs, CheckArgs, ExportArgs, ImportArgs, RestoreArgs};

/// How long the last lines of the log may take.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

/// A real-time community platform server.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Examples:
  mundotango                                    serve on 127.0.0.1:5000, data in ./mundotango-data
  mundotango serve --listen 0.0.0.0:8080        serve to others
  mundotango user create --email ana@example.com --password-stdin --role admin
  mundotango backup /backups/monday.ndjson.gz   all that lasts, while the node serves
  mundotango config show                        what is in force and what can be set, each option with what it is
  MUNDOTANGO__SESSION__PING_INTERVAL=10s mundotango serve

Every option of `config show` can be set in a file (--config), by MUNDOTANGO__SECTION__KEY, or both. Lists are divided by
commas there, and truth values are true, yes, on or 1; a blank variable is as good as none.
Only `serve`, `import`, `restore` and `seed` make a data folder; the other commands refuse one that is not there."
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Args)]
struct GlobalArgs {
    /// Configuration file (TOML).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for everything that lasts [default: mundotango-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address to listen on [default: 127.0.0.1:5000]
    #[arg(long, global = true, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node (also when no command is given).
    Serve(ServeArgs),
    /// Bring the data folder, or the cluster's tables, to this version's form.
    Migrate {
        /// Only say what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write all that the store holds as one stream, also while a node serves.
    Export(ExportArgs),
    /// Read a stream into the configured engines, which have to be empty.
    Import(ImportArgs),
    /// Write all that the data folder's store holds into a file, also while a node serves.
    Backup(BackupArgs),
    /// Read a backup into a new data folder.
    Restore(RestoreArgs),
    /// Fill a store with a community made up from a number: users, posts, reactions, bookmarks, events and answers. Nobody is
    /// told of it: no letters, no pushes, no publications.
    Seed(SeedArgs),
    /// Read all that the store holds and say what is wrong with it.
    Check(CheckArgs),
    /// Look at the whole installation, and say what is wrong, why it matters and what to do. Exit code 0: nothing is broken;
    /// 1: something is; 2: it could not be looked at.
    Doctor(DoctorArgs),
    /// See jobs of a running node, and try them again, drop them, pause and resume their queues.
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Look at letters that were written into the data folder.
    #[command(subcommand)]
    Mail(MailCommand),
    /// Manage accounts.
    #[command(subcommand)]
    User(UserCommand),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a signed token, for development.
    Token(TokenArgs),
}

#[derive(Debug, Default, Args)]
struct ServeArgs {
    /// Start also if something that was acknowledged is missing in the data folder: the log says what, and what cannot be
    /// read is set aside. Restore a backup instead if there is one.
    #[arg(long)]
    accept_loss: bool,
}

#[derive(Debug, Subcommand)]
enum UserCommand {
    /// Make an account, also while a node runs on the data folder.
    Create(CreateUserArgs),
}

#[derive(Debug, Args)]
struct CreateUserArgs {
    /// E-mail address to log in with.
    #[arg(long)]
    email: String,
    /// Password, 8 to 128 characters. Everybody on this machine can read it in the list of processes: use --password-stdin
    /// or MUNDOTANGO_PASSWORD instead.
    #[arg(
        long,
        env = "MUNDOTANGO_PASSWORD",
        hide_env_values = true,
        required_unless_present = "password_stdin"
    )]
    password: Option<String>,
    /// Read the password from standard input.
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// What the user may do: user, moderator or admin.
    #[arg(long, default_value = "user", value_parser = parse_role)]
    role: Role,
    /// Username [default: the e-mail address up to the @]
    #[arg(long)]
    username: Option<String>,
    /// Full name [default: the username]
    #[arg(long)]
    full_name: Option<String>,
}

#[derive(Debug, Subcommand)]
enum MailCommand {
    /// Write a page that shows the newest letters as their readers would see them, and print where it is.
    Preview,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Say whether the configuration can work.
    Check {
        /// Configuration file (TOML).
        file: Option<PathBuf>,
    },
    /// Print the configuration in force; secrets are hidden.
    Show,
}

#[derive(Debug, Args)]
struct TokenArgs {
    /// The user's id; any text.
    #[arg(long)]
    user: String,
    /// What the user may do: user, moderator or admin.
    #[arg(long, default_value = "user", value_parser = parse_role)]
    role: Role,
    /// How long the token is good, such as 15m or 24h.
    #[arg(long, default_value = "1h", value_parser = mundotango_ops::duration::parse)]
    ttl: Duration,
}

fn parse_role(text: &str) -> Result<Role, String> {
    serde_json::from_value(serde_json::Value::from(text))
        .map_err(|_| "use user, moderator or admin".to_owned())
}

impl Cli {
    /// Does what the command line says.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let overrides = Overrides { listen: self.global.listen, data_dir: self.global.data_dir };
        let source = ConfigSource { file: self.global.config, overrides };
        let load = |file: Option<PathBuf>| {
            ConfigSource { file: file.or_else(|| source.file.clone()), ..source.clone() }.load()
        };
        match self.command.unwrap_or(Command::Serve(ServeArgs::default())) {
            Command::Serve(args) => return serve(load(None)?, &source, &args),
            Command::Migrate { dry_run } => migrate(&load(None)?, dry_run)?,
            Command::Export(args) => return transfer::export(&load(None)?, args),
            Command::Import(args) => return transfer::import(&load(None)?, args),
            Command::Backup(args) => return transfer::backup(&load(None)?, &args),
            Command::Restore(args) => return transfer::restore(&load(None)?, &args),
            Command::Seed(args) => say(seed::seed(&load(None)?, args)?)?,
            Command::Check(args) => return transfer::check(&load(None)?, &args),
            Command::Doctor(args) => return run_doctor(&source, &args),
            Command::Jobs(command) => say(runtime()?.block_on(jobs_cli::run(&load(None)?, &command))?)?,
            Command::Mail(MailCommand::Preview) => {
                say(write_preview(&data_folder::letters(&load(None)?.data_dir))?.display())?;
            }
            Command::User(UserCommand::Create(args)) => create_user(&load(None)?, args)?,
            Command::Config(ConfigCommand::Check { file }) => {
                load(file)?;
                say("the configuration can work")?;
            }
            Command::Config(ConfigCommand::Show) => say(load(None)?.show()?.trim_end())?,
            Command::Token(args) => print_token(&load(None)?, &args)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Runs a node. All that it says goes through the log: writing to standard error in another way would wait for ever for a
/// reader that stopped.
fn serve(config: Config, source: &ConfigSource, args: &ServeArgs) -> anyhow::Result<ExitCode> {
    mundotango_ops::init_logs(&config.log)?;
    let runtime = runtime()?;
    let served = runtime.block_on(node::serve(config, source, args.accept_loss));
    if let Err(error) = &served {
        tracing::error!("{error:#}");
    }
    drop(runtime);
    mundotango_ops::flush_logs(LOG_PATIENCE);
    Ok(if served.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a line. A reader that has read enough, as `head` does, is no error.
fn say(text: impl Display) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")
}

fn run_doctor(source: &ConfigSource, args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let told = runtime.block_on(doctor::run(source, args));
    // A look at a disk that hangs is not waited for.
    runtime.shutdown_background();
    say(&told.text)?;
    Ok(told.code)
}

fn migrate(config: &Config, dry_run: bool) -> anyhow::Result<()> {
    if config.cluster.is_shared() {
        let report = runtime()?.block_on(scylla::migrate(&config.cluster.cql, &schema(), dry_run))?;
        say(&report)?;
        return report.replication.map_or(Ok(()), |difference| Err(anyhow::anyhow!(difference)));
    }
    let path = data_folder::existing_store(&config.data_dir)?;
    let shown = data_folder::shown(&path);
    if dry_run {
        return match embedded::format_of(&path)? {
            Some(FORMAT_VERSION) => say(format!("{shown} is at format {FORMAT_VERSION}: nothing to do")),
            Some(format) if !(OLDEST_FORMAT..FORMAT_VERSION).contains(&format) => Err(anyhow::anyhow!(
                "{shown} has format {format}; this program reads {OLDEST_FORMAT} to {FORMAT_VERSION}"
            )),
            Some(_) | None => say(format!("{shown} would be brought to format {FORMAT_VERSION}")),
        };
    }
    data_folder::act_as_owner(&path)?;
    let store = EmbeddedStore::open(&path, &config.store, &schema())?;
    store.close();
    say(format!("{shown} is at format {FORMAT_VERSION}"))
}

fn print_token(config: &Config, args: &TokenArgs) -> anyhow::Result<()> {
    let secret = data_folder::existing_secret(config)?;
    let tokens = Tokens::new(secret.expose().as_bytes(), args.ttl);
    say(tokens.issue(&args.user, args.role.as_str(), None)?)
}

fn create_user(config: &Config, args: CreateUserArgs) -> anyhow::Result<()> {
    if !config.cluster.is_shared() {
        let store = data_folder::existing_store(&config.data_dir)?;
        data_folder::act_as_owner(&store)?;
    }
    runtime()?.block_on(create_user_here(config, args))
}

async fn create_user_here(config: &Config, args: CreateUserArgs) -> anyhow::Result<()> {
    let password = if let Some(password) = args.password {
        password
    } else {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read the password")?;
        text.trim_end_matches(['\r', '\n']).to_owned()
    };
    let username =
        args.username.unwrap_or_else(|| args.email.split('@').next().unwrap_or_default().to_owned());
    let body = json!({
        "fullName": args.full_name.as_ref().unwrap_or(&username),
        "email": args.email,
        "password": password,
        "username": username,
        "role": args.role,
    });
    let (account, role) = input::read_value::<NewUser>(body.clone())
        .map_err(|problem| anyhow::anyhow!("{problem}"))?
        .into_parts();
    let passwords = Passwords::new(config.auth.password_concurrency)?;
    if config.cluster.is_shared() {
        let store = ScyllaStore::connect(&config.cluster.cql, &schema()).await?;
        return create_user_in(&store.stores().db, &passwords, account, role).await;
    }
    let store =
        match EmbeddedStore::open(&crate::engines::store_path(&config.data_dir), &config.store, &schema()) {
            Ok(store) => store,
            Err(OpenError::Locked { .. }) => return create_user_at(config, &body).await,
            Err(error) => return Err(error.into()),
        };
    create_user_in(&store.stores().db, &passwords, account, role).await?;
    store.close();
    Ok(())
}

async fn create_user_in(
    db: &Db,
    passwords: &Passwords,
    account: NewAccount,
    role: Role,
) -> anyhow::Result<()> {
    let user = accounts::create(&AccountStore::new(db.clone()), passwords, account, role, NewId::fresh())
        .await
        .map_err(|problem| anyhow::anyhow!("{problem}"))?;
    say(format!("made {} ({}) with id {}", user.username, user.email, user.id))
}

/// Makes an account through the node that has the data folder open.
async fn create_user_at(config: &Config, body: &Value) -> anyhow::Result<()> {
    let answer = RunningNode::of(config)?.call(Method::POST, "/api/admin/users", Some(body)).await?;
    let text = |field: &str| answer[field].as_str().unwrap_or_default().to_owned();
    say(format!("made {} ({}) with id {} by the running node", text("username"), text("email"), text("id")))
}
