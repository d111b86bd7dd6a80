//! The program: arguments, logging, and the command to run.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use callisto::base::{Timestamp, UserId};
use callisto::config::{self, Config};
use callisto::control::io::{Clock, entropy};
use callisto::event::RoomId;
use callisto::load::args::LoadArgs;
use callisto::load::io::{Phase, Progress, Target};
use callisto::ticket::{ConsoleKey, MapKey, Privileges, Ticket, TicketKey};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// What the options do not say.
const HELP: &str = "\
Every key of the configuration, with its default: config/default.toml. Each is also an environment variable: http.public is
CALLISTO_HTTP__PUBLIC. Later wins: defaults, file, environment, options.
Signals: SIGTERM and Ctrl-C take no new calls and wait for open ones (drain.timeout), a second one stops at once; SIGHUP reads
webhooks and keys anew.
Logs go to stderr; the first line on stdout is JSON with the addresses that were bound.";

/// A self-hosted call server: voice and video calls in any browser, every fact of them told to your backend by signed webhooks.
#[derive(Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, disable_help_subcommand = true, after_help = HELP)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (what happens without a command, too)
    Serve(Options),
    /// Print a UserSig, or with --room a PrivateMapKey, for the configured app
    Ticket(TicketArgs),
    /// Print a link that opens the running server's console once, within ten minutes
    Console(Options),
    /// Load a server with publishers and receivers, and report what came of it
    Load(Box<LoadCommand>),
}

#[derive(Args)]
struct LoadCommand {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    options: Options,
}

#[derive(Args)]
struct Options {
    /// Configuration file (TOML); without it the defaults hold
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder; stands for --set data_dir=DIR
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Set one key, such as http.public=0.0.0.0:80; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// What to log: error, warn, info, debug, trace, or a filter such as info,callisto::signal=debug
    #[arg(long, value_name = "FILTER", default_value = "info,str0m=error,is=error")]
    log: String,
    /// Form of the log lines on stderr
    #[arg(long, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Args)]
struct TicketArgs {
    /// Whom the ticket is for: 1 to 32 of a-z, A-Z, 0-9, _ and -
    user: UserId,
    /// Seconds it is good for
    #[arg(long, default_value_t = 86_400)]
    expire: u64,
    /// Narrow it to this room: a number is an intRoomId, anything else a strRoomId
    #[arg(long)]
    room: Option<String>,
    /// What it allows in the room: a sum of 1 create, 2 enter, 4 send audio, 8 receive audio, 16 send video, 32 receive video, 64 send screen, 128 receive screen
    #[arg(long, default_value_t = 255, requires = "room", value_parser = clap::value_parser!(u32).range(0..=255))]
    privilege: u32,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        None => serve(&cli.options),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Ticket(args)) => ticket(&args),
        Some(Command::Console(options)) => console(&options),
        Some(Command::Load(command)) => load_server(&command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("callisto: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn serve(options: &Options) -> anyhow::Result<()> {
    start_log(options)?;
    let read = || {
        let config = load(options)?;
        let secrets = config::io::secrets(&config)?;
        Ok((config, secrets))
    };
    let (config, secrets) = read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(callisto::node::run(config, secrets, read))
}

fn ticket(args: &TicketArgs) -> anyhow::Result<()> {
    let config = load(&args.options)?;
    let secrets = config::io::secrets(&config)?;
    let now = Clock::start().now();
    let expires_at = now + Duration::from_secs(args.expire);
    let map_key = args.room.as_deref().map(|room| map_key(args, &config, room, expires_at)).transpose()?;
    let key = TicketKey::new(config.app.id, &secrets.app_secret.0, config.app.clock_skew);
    println!("{}", key.sign(&Ticket { user: args.user.clone(), issued_at: now, expires_at, map_key }));
    Ok(())
}

fn console(options: &Options) -> anyhow::Result<()> {
    let config = load(options)?;
    ensure!(
        config.http.admin.port() != 0,
        "http.admin has port 0: only the server itself knows which it got, and printed it"
    );
    let key = ConsoleKey::new(&config::io::secrets(&config)?.api_key.0);
    println!("{}", callisto::node::console_address(config.http.admin, &key.link(Clock::start().now(), entropy())));
    Ok(())
}

fn load_server(command: &LoadCommand) -> anyhow::Result<()> {
    start_log(&command.options)?;
    let config = load(&command.options)?;
    let args = &command.load;
    let mut address = config.http.public;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv6() { [0, 0, 0, 0, 0, 0, 0, 1].into() } else { [127, 0, 0, 1].into() });
    }
    // A server of another kind has no use for our tickets, and no data folder is made for it.
    let secret = if args.token.is_some() { String::new() } else { config::io::secrets(&config)?.app_secret.0 };
    let target = Target {
        door: args.door(format!("ws://{address}/v1/ws").parse()?, config.app.id),
        tickets: TicketKey::new(config.app.id, &secret, config.app.clock_skew),
        pid: args.pid,
        remote: args.remote,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        let (stop, stopped) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                // Whoever is not there to hear it has ended already.
                let _ = stop.send(()).await;
            }
            std::future::pending::<()>().await;
        });
        callisto::load::io::run(args.plan(), target, stopped, show_progress).await
    })?;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    println!("{}", if args.json { serde_json::to_string_pretty(&report)? } else { report.to_string() });
    Ok(())
}

/// A line that is written again and again; nothing where it would fill a file.
fn show_progress(news: Progress) {
    const WIDTH: usize = 20;
    if !std::io::stderr().is_terminal() {
        return;
    }
    let Progress { phase, joined, clients, received, lost, p95 } = news;
    let (name, share) = match phase {
        Phase::Joining => ("joining", joined as f64 / clients.max(1) as f64),
        Phase::Measuring(over) => ("measuring", over),
    };
    let done = ((share * WIDTH as f64) as usize).min(WIDTH);
    let bar = format!("{}{}", "#".repeat(done), "·".repeat(WIDTH - done));
    let p95 = p95.map_or("–".into(), |p95| format!("{:.1} ms", p95.as_secs_f64() * 1000.0));
    eprint!("\r\x1b[K{name} [{bar}] {joined}/{clients} in, {received} received, {lost} lost, p95 {p95}");
}

fn map_key(args: &TicketArgs, config: &Config, room: &str, expires_at: Timestamp) -> anyhow::Result<MapKey> {
    ensure!(expires_at.as_secs() <= u64::from(u32::MAX), "--expire: a PrivateMapKey can name no time so far ahead");
    let room = match room.parse::<u32>() {
        Ok(number) if number > 0 => RoomId::Int(number),
        _ => RoomId::named(room).context("--room: a name is 1 to 64 bytes of printable ASCII")?,
    };
    let privileges = Privileges::from_bits(args.privilege);
    Ok(MapKey { user: args.user.clone(), sdk_app_id: config.app.id, room, expires_at, privileges })
}

fn load(options: &Options) -> anyhow::Result<Config> {
    config::io::load(options.config.as_deref(), options.data.as_deref(), &options.set)
}

fn start_log(options: &Options) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().parse(&options.log).with_context(|| format!("--log {:?}", options.log))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    match options.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
