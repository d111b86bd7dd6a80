//! The Retry-After header (RFC 9110, section 10.2.3): seconds, or a date.

use std::time::Duration;

use crate::base::Timestamp;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// How long after `now` the receiver wants to be asked again; `None`: the text says nothing. A date that has passed is zero.
pub fn parse(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    match text.parse::<u64>() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(parse_date(text)?.since(now)),
    }
}

/// IMF-fixdate, the one form that senders may use: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let mut words = text.split_once(", ")?.1.split(' ');
    let day = number(words.next()?, 1..=31)?;
    let month = words.next()?;
    let month = 1 + MONTHS.iter().position(|name| *name == month)? as u64;
    let year = number(words.next()?, 1970..=9999)?;
    let mut clock = words.next()?.split(':');
    let hour = number(clock.next()?, 0..=23)?;
    let minute = number(clock.next()?, 0..=59)?;
    let second = number(clock.next()?, 0..=60)?;
    if words.next()? != "GMT" || words.next().is_some() || clock.next().is_some() {
        return None;
    }
    let seconds = ((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second;
    Some(Timestamp::from_millis(seconds * 1000))
}

fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    text.parse().ok().filter(|number| range.contains(number))
}

/// Days from 1970-01-01 to the first of a month of the Gregorian calendar.
fn days_before(year: u64, month: u64) -> u64 {
    // Years that begin in March put the leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood() {
        let now = Timestamp::from_millis(784_111_777_000 - 60_000);
        for (text, seconds) in [("120", Some(120)), (" 0 ", Some(0)), ("Sun, 06 Nov 1994 08:49:37 GMT", Some(60))] {
            assert_eq!(parse(text, now), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(parse("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO), "it has passed");
        for text in ["", "-1", "soon", "Sun, 06 Nov 1994 08:49:37", "Sun, 32 Nov 1994 08:49:37 GMT", "6 Nov 1994"] {
            assert_eq!(parse(text, now), None, "{text}");
        }
    }

    #[test]
    fn dates_are_counted_as_the_calendar_does() {
        for (date, expected) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z"),
            ("Tue, 29 Feb 2000 12:30:15 GMT", "2000-02-29T12:30:15.000Z"),
            ("Fri, 31 Dec 2027 23:59:59 GMT", "2027-12-31T23:59:59.000Z"),
            ("Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(parse_date(date).unwrap().to_string(), expected);
        }
    }
}
