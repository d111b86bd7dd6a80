//! The command line of `callisto load`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use url::Url;

use super::io::door::Door;
use super::{Impairment, Pattern, Plan, Scenario};

/// What to load a server with.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Who publishes to whom
    #[arg(value_name = "SCENARIO", default_value = "one-to-many")]
    pub scenario: Kind,
    /// Receivers of each publisher (one-to-many), or members of each room (rooms)
    #[arg(long, short = 'n', default_value_t = 10)]
    pub number: usize,
    /// Rooms of that size
    #[arg(long, default_value_t = 1)]
    pub rooms: usize,
    /// How long is measured once everyone is in, at most 1h
    #[arg(long, value_parser = humantime::parse_duration, default_value = "10s")]
    pub duration: Duration,
    /// Clients that come in each second
    #[arg(long, default_value_t = 20)]
    pub joins_a_second: u32,
    /// Members but for the first of each room leave after so long, and come back
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub stay: Option<Duration>,
    /// A frame's packets all at once, as browsers send them, or spread evenly
    #[arg(long, default_value = "burst")]
    pub pattern: PatternName,
    /// Frames of video a second; 0: no video
    #[arg(long, default_value_t = 30)]
    pub frames: u32,
    /// Packets of a frame
    #[arg(long, default_value_t = 5)]
    pub packets: u32,
    /// Bytes of a video packet's payload
    #[arg(long, default_value_t = 1000)]
    pub payload: usize,
    /// No sound
    #[arg(long)]
    pub no_audio: bool,
    /// What each client's link loses on its way up, such as 0.05
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub loss_up: f64,
    /// What each client's link loses on its way down
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub loss_down: f64,
    /// What each client's link carries on its way up, in kbit/s
    #[arg(long, value_name = "KBPS")]
    pub rate_up: Option<u64>,
    /// What each client's link carries on its way down, in kbit/s
    #[arg(long, value_name = "KBPS")]
    pub rate_down: Option<u64>,
    /// The server's WebSocket, such as ws://127.0.0.1:8080/v1/ws; default: that of the configuration
    #[arg(long, value_name = "URL", conflicts_with_all = ["whip", "whep"])]
    pub url: Option<Url>,
    /// WHIP and WHEP instead: where to publish; {room} and {user} stand for names
    #[arg(long, value_name = "URL", requires = "whep")]
    pub whip: Option<String>,
    /// Where to receive
    #[arg(long, value_name = "URL", requires = "whip")]
    pub whep: Option<String>,
    /// Bearer token for WHIP and WHEP of another server; default: tickets of the configured app
    #[arg(long, requires = "whip")]
    pub token: Option<String>,
    /// The server is another machine, and you may load it
    #[arg(long)]
    pub remote: bool,
    /// The server's process, for its use of processor and memory
    #[arg(long)]
    pub pid: Option<u32>,
    /// The report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Names of scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// One publishes, the others receive
    OneToMany,
    /// Everyone publishes to everyone in the room
    Rooms,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PatternName {
    Burst,
    Even,
}

impl LoadArgs {
    pub fn plan(&self) -> Plan {
        let scenario = match self.scenario {
            Kind::OneToMany => Scenario::OneToMany { receivers: self.number, rooms: self.rooms },
            Kind::Rooms => Scenario::Rooms { members: self.number, rooms: self.rooms },
        };
        let way = |loss: f64, rate: Option<u64>| Impairment { loss, rate: rate.map(|kbps| kbps.saturating_mul(1000)) };
        Plan {
            scenario,
            duration: self.duration,
            joins_a_second: self.joins_a_second,
            stay: self.stay,
            pattern: match self.pattern {
                PatternName::Burst => Pattern::Burst,
                PatternName::Even => Pattern::Even,
            },
            frames_a_second: self.frames,
            packets_a_frame: self.packets,
            payload: self.payload,
            audio: !self.no_audio,
            up: way(self.loss_up, self.rate_up),
            down: way(self.loss_down, self.rate_down),
        }
    }

    /// `default`: the configured server's WebSocket.
    pub fn door(&self, default: Url, sdk_app_id: u32) -> Door {
        match (&self.whip, &self.whep) {
            (Some(whip), Some(whep)) => {
                Door::Http { whip: whip.clone(), whep: whep.clone(), token: self.token.clone() }
            }
            _ => Door::Rpc { url: self.url.clone().unwrap_or(default), sdk_app_id },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn parse(line: &str) -> Result<LoadArgs, clap::Error> {
        Line::try_parse_from(format!("load {line}").split_whitespace()).map(|line| line.load)
    }

    #[test]
    fn the_line_makes_a_plan() {
        let args = parse("rooms -n 4 --rooms 3 --duration 1m --stay 5s --pattern even --rate-down 500").unwrap();
        let plan = args.plan();
        assert_eq!(plan.scenario, Scenario::Rooms { members: 4, rooms: 3 });
        assert_eq!((plan.duration, plan.stay), (Duration::from_secs(60), Some(Duration::from_secs(5))));
        assert_eq!((plan.pattern, plan.down.rate), (Pattern::Even, Some(500_000)));
        assert_eq!(plan.check(), Ok(()));
        assert_eq!(parse("").unwrap().plan().check(), Ok(()), "with nothing said it is a plan");
    }

    #[test]
    fn a_server_is_named_in_one_way() {
        let default: Url = "ws://127.0.0.1:8080/v1/ws".parse().unwrap();
        let door = |line: &str| parse(line).map(|args| args.door(default.clone(), 1));
        assert!(matches!(door("").unwrap(), Door::Rpc { url, .. } if url == default));
        assert!(matches!(door("--whip http://a/{room} --whep http://b/{room}").unwrap(), Door::Http { .. }));
        for line in ["--whip http://a", "--whep http://a", "--url ws://a --whip http://a --whep http://a", "--token x"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
