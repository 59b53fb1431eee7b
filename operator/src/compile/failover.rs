//! Which tier serves, and the calendar of prime time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use switchyard_crds::proxychain::{
    Backend, Failback as FailbackSpec, Failover as Spec, FailoverMode, OnDown as OnDownSpec,
    Schedule as ScheduleSpec, Start as StartSpec, Weekday as WeekdaySpec,
};
use switchyard_snapshot::{Failback, Failover, Mode, OnDown, Schedule, Start, TimeOfDay, Weekday};

use super::FieldPath;
use super::faults::Faults;

/// `path` is where the failover section stands.
pub fn compile(spec: &Spec, backends: &[Backend], path: &FieldPath, faults: &mut Faults<'_>) -> Failover {
    let Spec {
        mode,
        active,
        min_healthy,
        failback,
        delay,
        on_down,
        pace,
    } = spec;
    if let Some(active) = active
        && backends.iter().all(|backend| backend.name != *active)
    {
        let names: Vec<&str> = backends.iter().map(|backend| backend.name.as_str()).collect();
        let words = format!("no backend is named {active:?}; there are: {}", names.join(", "));
        faults.invalid(path.key("active"), words);
    }
    let mode = match mode {
        FailoverMode::Automatic => Mode::Automatic,
        FailoverMode::Manual => Mode::Manual,
    };
    Failover {
        mode,
        active: active.clone().filter(|_| mode == Mode::Manual),
        min_healthy: *min_healthy,
        failback: match failback {
            FailbackSpec::Sticky => Failback::Sticky,
            FailbackSpec::Immediate => Failback::Immediate,
            FailbackSpec::Delayed => Failback::Delayed,
            FailbackSpec::Scheduled => Failback::Scheduled,
        },
        delay: delay.get(),
        on_down: match on_down {
            OnDownSpec::Keep => OnDown::Keep,
            OnDownSpec::Close => OnDown::Close,
        },
        pace: *pace,
    }
}

/// `path` is where the schedule stands.
pub fn compile_schedule(spec: &ScheduleSpec, path: &FieldPath, faults: &mut Faults<'_>) -> Schedule {
    let ScheduleSpec {
        time_zone,
        starts,
        except,
    } = spec;
    if TimeZone::get(time_zone).is_err() {
        let words =
            format!("{time_zone:?} is in no time zone database: write a name such as Europe/London or UTC");
        faults.invalid(path.key("timeZone"), words);
    }
    let dates = path.key("except");
    let mut days: Vec<String> = Vec::new();
    for (i, text) in except.iter().enumerate() {
        match text.parse::<Date>() {
            // jiff reads more forms than the schedule allows, such as a date with a time.
            Ok(date) if date.to_string() == *text => days.push(text.clone()),
            _ => faults.invalid(
                dates.index(i),
                format!("{text:?} is no day of the calendar: write YYYY-MM-DD"),
            ),
        }
    }
    days.sort();
    days.dedup();
    let path = path.key("starts");
    if starts.is_empty() {
        faults.invalid(path.clone(), "prime time must start at least once");
    }
    let each = |(i, spec): (usize, &StartSpec)| compile_start(spec, &path.index(i), faults);
    Schedule {
        time_zone: time_zone.clone(),
        starts: starts.iter().enumerate().filter_map(each).collect(),
        except: days,
    }
}

fn compile_start(spec: &StartSpec, path: &FieldPath, faults: &mut Faults<'_>) -> Option<Start> {
    let StartSpec { days, at } = spec;
    if days.is_empty() {
        faults.invalid(path.key("days"), "name at least one day");
    }
    let mut days: Vec<Weekday> = days.iter().map(|day| weekday(*day)).collect();
    days.sort_unstable();
    days.dedup();
    match at.parse::<TimeOfDay>() {
        Ok(at) => Some(Start { days, at }),
        Err(words) => {
            faults.invalid(path.key("at"), words);
            None
        }
    }
}

fn weekday(spec: WeekdaySpec) -> Weekday {
    match spec {
        WeekdaySpec::Mon => Weekday::Mon,
        WeekdaySpec::Tue => Weekday::Tue,
        WeekdaySpec::Wed => Weekday::Wed,
        WeekdaySpec::Thu => Weekday::Thu,
        WeekdaySpec::Fri => Weekday::Fri,
        WeekdaySpec::Sat => Weekday::Sat,
        WeekdaySpec::Sun => Weekday::Sun,
    }
}
