/// How long ago, in one unit: `now`, `12s`, `5m`, `3h`, `2d`, `6w`, `3y`.
///
/// - Parameter seconds: the age; a negative one (a clock was set back) is `now`.
public func ageText(seconds: Double) -> String {
    let steps: [(limit: Double, divisor: Double, unit: String)] = [
        (60, 1, "s"), (3600, 60, "m"), (86400, 3600, "h"), (14 * 86400, 86400, "d"),
        (365 * 86400, 7 * 86400, "w"), (.infinity, 365 * 86400, "y"),
    ]
    if seconds < 1 || seconds.isNaN { return "now" }
    guard seconds < 1e12, let step = steps.first(where: { seconds < $0.limit }) else { return "long ago" }
    return "\(Int(seconds / step.divisor))\(step.unit)"
}

/// The seconds of a length of time: a number above 0 with `s`, `m`, `h`, `d` or `w` after it; nil for all else.
public func spanSeconds(_ text: String) -> Double? {
    let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400]
    let digits = text.dropLast()
    guard let unit = text.last.flatMap({ units[$0] }), digits.allSatisfy({ $0.isNumber || $0 == "." }),
        let number = Double(digits), number > 0, number * unit < 1e12
    else { return nil }
    return number * unit
}

/// A size in units of 1,000, three digits at most before the unit: `512 B`, `3.1 kB`, `14 MB`.
public func sizeText(bytes: Int64) -> String {
    guard bytes >= 1000 else { return "\(max(bytes, 0)) B" }
    let units = ["kB", "MB", "GB", "TB", "PB", "EB"]
    var value = Double(bytes) / 1000
    var unit = 0
    // 999.5 would be rounded to a fourth digit.
    while value >= 999.5, unit < units.count - 1 {
        value /= 1000
        unit += 1
    }
    return "\(decimal(value, digits: value < 9.95 ? 1 : 0)) \(units[unit])"
}

/// Milliseconds with a precision that fits their size: `0.41 ms`, `7.3 ms`, `412 ms`, `3.25 s`.
public func millisecondsText(_ milliseconds: Double) -> String {
    switch milliseconds {
    case ..<1: "\(decimal(milliseconds, digits: 2)) ms"
    case ..<100: "\(decimal(milliseconds, digits: 1)) ms"
    case ..<1000: "\(decimal(milliseconds, digits: 0)) ms"
    default: "\(decimal(milliseconds / 1000, digits: 2)) s"
    }
}

/// A number with a fixed count of digits (0 to 6) after the point, halves rounded away from zero.
public func decimal(_ value: Double, digits: Int) -> String {
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (value * scale).rounded()
    guard scaled.isFinite, abs(scaled) < 9e15 else { return "\(value)" }
    let number = Int(abs(scaled))
    let sign = value < 0 && number > 0 ? "-" : ""
    guard digits > 0 else { return "\(sign)\(number)" }
    let fraction = String(number % Int(scale))
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return "\(sign)\(number / Int(scale)).\(zeros)\(fraction)"
}

/// A moment in UTC: `2026-11-21 05:44:58 UTC`.
///
/// - Parameter time: seconds since 1970, years 1970 to 9999.
public func momentText(_ time: Double) -> String {
    guard time >= 0, time < 253_402_300_800 else { return "\(time)" }
    let seconds = Int(time)
    let (day, inDay) = (seconds / 86400, seconds % 86400)
    let date = civilDate(daysSince1970: day)
    let clock = [inDay / 3600, inDay / 60 % 60, inDay % 60].map(twoDigits).joined(separator: ":")
    return "\(date.year)-\(twoDigits(date.month))-\(twoDigits(date.day)) \(clock) UTC"
}

private func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

/// The Gregorian date of a day: years start in March, so that the leap day comes last.
private func civilDate(daysSince1970 days: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let year = era * 400 + yearOfEra + (month <= 2 ? 1 : 0)
    return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
}
