//! Times of observations, in UTC.

/// Seconds from 1970-01-01 of a time of the proleptic Gregorian calendar; `None` if there is no such time.
pub fn seconds(year: u32, month: u32, day: u32, hour: u32, minute: u32, second: u32) -> Option<i64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let in_month = *days.get(month.checked_sub(1)? as usize)?;
    if !(1..=9999).contains(&year) || !(1..=in_month).contains(&day) || hour > 24 || minute > 59 || second > 60 {
        return None;
    }
    let before = i64::from(year) - 1;
    let leaps = before / 4 - before / 100 + before / 400;
    let this_year: u32 = days[..month as usize - 1].iter().sum();
    let days = before * 365 + leaps + i64::from(this_year) + i64::from(day) - 719_163;
    Some(days * 86_400 + i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second))
}

/// The number that some digits, and nothing else, stand for.
pub fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

/// Seconds of `YYYYMMDD` and `HHMM`.
pub fn compact(date: &str, time: &str) -> Option<i64> {
    let (date, time) = (Some(date).filter(|d| d.len() == 8).and_then(digits)?, digits(time)?);
    seconds(date / 10_000, date / 100 % 100, date % 100, time / 100, time % 100, 0)
}

/// Seconds of `YYYY-MM-DD HH:MM[:SS]` (with a blank or a T), or of `YYYYMMDDHH`, which may have `.0` after it.
pub fn iso(text: &str) -> Option<i64> {
    let plain = text.strip_suffix(".0").unwrap_or(text);
    if plain.len() == 10 && digits(plain).is_some() {
        let (date, hour) = (digits(plain.get(..8)?)?, digits(plain.get(8..)?)?);
        return seconds(date / 10_000, date / 100 % 100, date % 100, hour, 0, 0);
    }
    let (date, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00"));
    let mut date = date.split('-').map(digits);
    let mut time = time.trim_end_matches('Z').split(':').map(digits);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (hour, minute) = (time.next()??, time.next()??);
    let second = time.next().unwrap_or(Some(0))?;
    let over = date.next().is_some() || time.next().is_some();
    seconds(year, month, day, hour, minute, second).filter(|_| !over)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(iso("1970-01-01 00:00:00"), Some(0));
        assert_eq!(iso("1992-08-16T18:00"), Some(713_988_000));
        assert_eq!(iso("1992081618.0"), Some(713_988_000));
        assert_eq!(compact("19920816", "1800"), Some(713_988_000));
        assert_eq!(compact("20000229", "0000").zip(compact("20000301", "0000")), Some((951_782_400, 951_868_800)));
        for bad in
            ["", "1992-02-30 00:00", "1992-13-01", "1992-01-01 00:00:00:00", "é992-01-01", "19920816180", "1992-01"]
        {
            assert_eq!(iso(bad), None, "{bad}");
        }
        assert_eq!(compact("19000229", "0000"), None);
    }
}
