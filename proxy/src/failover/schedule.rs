//! Prime time. In: the schedule of a chain and the wall clock. Out: the next start, and whether one has just come.

use std::collections::{BTreeSet, VecDeque};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use switchyard_snapshot::{Schedule, Weekday};

/// How many starts that have come are remembered, so that a clock set back does not bring them again.
const REMEMBERED: usize = 32;

/// A schedule, ready to be asked.
#[derive(Clone, Debug)]
pub struct Calendar {
    zone: TimeZone,
    starts: Vec<(Vec<Weekday>, Time)>,
    except: BTreeSet<Date>,
}

impl Calendar {
    /// Reads a schedule; says which part of it cannot be understood.
    pub fn new(schedule: &Schedule) -> Result<Self, String> {
        let zone = TimeZone::get(&schedule.time_zone)
            .map_err(|_| format!("schedule.timeZone {:?} is not known", schedule.time_zone))?;
        let mut starts = Vec::new();
        for start in &schedule.starts {
            let (hour, minute, second) = start.at.hms();
            let at = Time::new(hour.cast_signed(), minute.cast_signed(), second.cast_signed(), 0)
                .map_err(|error| format!("schedule.starts: {error}"))?;
            starts.push((start.days.clone(), at));
        }
        let except = schedule
            .except
            .iter()
            .map(|date| {
                date.parse()
                    .map_err(|_| format!("schedule.except: {date:?} is no date"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { zone, starts, except })
    }

    /// The first start after `after`; none: there is none.
    ///
    /// A start whose clock time is skipped comes the same distance after the gap; one whose clock time is shown twice
    /// comes the first time.
    pub fn next_start(&self, after: Timestamp) -> Option<Timestamp> {
        // A clock change may carry a start past midnight (a whole day in Apia, 2011), so days are looked at from two
        // before, and two more after the first that fits.
        let mut day = after.to_zoned(self.zone.clone()).date();
        day = day.checked_sub(Span::new().days(2)).ok()?;
        let mut found: Option<Timestamp> = None;
        let mut left = 7 * (self.except.len() + 2);
        while left > 0 {
            for start in self.starts_of(day).filter(|start| *start > after) {
                if found.is_none() {
                    left = 3;
                }
                found = Some(found.map_or(start, |known| known.min(start)));
            }
            day = day.tomorrow().ok()?;
            left -= 1;
        }
        found
    }

    fn starts_of(&self, day: Date) -> impl Iterator<Item = Timestamp> {
        let wanted = !self.except.contains(&day);
        let weekday = weekday(day);
        self.starts
            .iter()
            .filter(move |(days, _)| wanted && days.contains(&weekday))
            .filter_map(move |(_, at)| {
                let clock = DateTime::from_parts(day, *at);
                self.zone.to_ambiguous_timestamp(clock).compatible().ok()
            })
    }
}

fn weekday(day: Date) -> Weekday {
    match day.weekday() {
        jiff::civil::Weekday::Monday => Weekday::Mon,
        jiff::civil::Weekday::Tuesday => Weekday::Tue,
        jiff::civil::Weekday::Wednesday => Weekday::Wed,
        jiff::civil::Weekday::Thursday => Weekday::Thu,
        jiff::civil::Weekday::Friday => Weekday::Fri,
        jiff::civil::Weekday::Saturday => Weekday::Sat,
        jiff::civil::Weekday::Sunday => Weekday::Sun,
    }
}

/// Watches the wall clock pass starts. Set forward over several starts, the clock brings one; set back, it brings none of
/// those that have come again.
#[derive(Clone, Debug)]
pub struct Clockwork {
    seen: Timestamp,
    came: VecDeque<Timestamp>,
    /// No start comes after the first and before the second moment; none: that has to be found out.
    quiet: Option<(Timestamp, Timestamp)>,
}

impl Clockwork {
    /// Starts that lie before `now` have passed unseen.
    pub fn new(now: Timestamp) -> Self {
        Self {
            seen: now,
            came: VecDeque::new(),
            quiet: None,
        }
    }

    /// Another calendar is used from now on.
    pub fn recalendar(&mut self) {
        self.quiet = None;
    }

    /// The newest start that came since the last call.
    pub fn advance(&mut self, calendar: &Calendar, now: Timestamp) -> Option<Timestamp> {
        let from = std::mem::replace(&mut self.seen, now);
        if self
            .quiet
            .is_some_and(|(after, next)| after <= from && now < next && after <= now)
        {
            return None;
        }
        self.quiet = Some((now, calendar.next_start(now).unwrap_or(Timestamp::MAX)));
        let newest = newest_start(calendar, from, now)?;
        if self.came.contains(&newest) {
            return None;
        }
        if self.came.len() == REMEMBERED {
            self.came.pop_front();
        }
        self.came.push_back(newest);
        Some(newest)
    }

    /// The next start that will count.
    pub fn next(&self, calendar: &Calendar) -> Option<Timestamp> {
        let mut next = match self.quiet {
            Some((after, next)) if after <= self.seen && self.seen < next => {
                Some(next).filter(|next| *next < Timestamp::MAX)
            }
            _ => calendar.next_start(self.seen),
        };
        while let Some(start) = next.filter(|start| self.came.contains(start)) {
            next = calendar.next_start(start);
        }
        next
    }
}

/// The last start after `from`, up to and including `to`.
fn newest_start(calendar: &Calendar, from: Timestamp, to: Timestamp) -> Option<Timestamp> {
    // Far jumps: only the last weeks can matter, and walking years start by start would take long.
    let weeks = i64::try_from(calendar.except.len() + 2).unwrap_or(2);
    let weeks = Span::new().hours(24 * 7 * weeks);
    let horizon = to.checked_sub(weeks).unwrap_or(Timestamp::MIN);
    let mut newest = None;
    let mut after = from.max(horizon);
    while let Some(start) = calendar.next_start(after).filter(|start| *start <= to) {
        newest = Some(start);
        after = start;
    }
    newest
}

#[cfg(test)]
mod tests;
