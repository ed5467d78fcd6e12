//! Just enough of Rust's grammar to look at code alone: comments, literals and test modules blanked, lines kept.

/// `text` with comments and the insides of string and character literals replaced by spaces.
pub fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = match chars[at] {
            '/' if chars.get(at + 1) == Some(&'/') => line_comment(&chars[at..]),
            '/' if chars.get(at + 1) == Some(&'*') => block_comment(&chars[at..]),
            '"' => string(&chars[at..]),
            'r' | 'b' | 'c' if !follows_word(&chars, at) => prefixed_string(&chars[at..]),
            '\'' => character(&chars[at..]),
            _ => 0,
        };
        if length == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let end = (at + length).min(chars.len());
        out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_comment(chars: &[char]) -> usize {
    chars.iter().position(|c| *c == '\n').unwrap_or(chars.len())
}

fn block_comment(chars: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

fn string(chars: &[char]) -> usize {
    let mut at = 1;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`; 0 if it is none of them.
fn prefixed_string(chars: &[char]) -> usize {
    let prefix = chars.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = chars[..prefix].contains(&'r');
    let hashes = chars[prefix..].iter().take_while(|c| **c == '#').count();
    if prefix > 2 || (hashes > 0 && !raw) || chars.get(prefix + hashes) != Some(&'"') {
        return 0;
    }
    if !raw {
        return prefix + string(&chars[prefix..]);
    }
    let mut at = prefix + hashes + 1;
    while at < chars.len() {
        if chars[at] == '"' && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}

/// A character literal; 0 for a lifetime.
fn character(chars: &[char]) -> usize {
    match (chars.get(1), chars.get(2)) {
        (Some('\\'), _) => chars.iter().skip(3).position(|c| *c == '\'').map_or(0, |p| p + 4),
        (Some(_), Some('\'')) => 3,
        _ => 0,
    }
}

/// Blanked code without the items under `#[cfg(test)]`.
pub fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_owned();
    while let Some(start) = out.find(MARK) {
        let end = start + MARK.len() + item_length(&out[start + MARK.len()..]);
        let blank: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// Bytes up to the end of the item that starts here: a `;` outside braces, or the closing brace.
fn item_length(code: &str) -> usize {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' if depth == 1 => return at + 1,
            '}' | ')' | ']' => depth -= 1,
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Every place of `word` that is not a part of a longer word: (line from 1, byte offset).
pub fn words<'c>(code: &'c str, word: &'c str) -> impl Iterator<Item = (usize, usize)> + 'c {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    code.match_indices(word).filter_map(move |(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let first = word.chars().next();
        let last = word.chars().next_back();
        let within = (part(first) && part(before)) || (part(last) && part(after));
        (!within).then(|| (line(code, at), at))
    })
}

/// The line of a byte offset, from 1.
pub fn line(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"x.unwrap()\"; // b\nlet c = r#\"d \" e\"#; /* f /* g */ h */ let i: &'static str = 'j';\n";
    let code = blank(text);
    assert_eq!(code.matches('\n').count(), 2);
    assert!(!["unwrap", "b", "d", "f", "g", "h", "j"].iter().any(|w| words(&code, w).next().is_some()), "{code}");
    assert!(code.contains("'static") && code.contains("let i"));
}

#[test]
fn escaped_quotes_do_not_end_a_literal() {
    let code = blank(r#"a('\'', '\\', "\"", b"\\") ; tail"#);
    assert!(code.contains("tail") && !code.contains('\\'), "{code}");
}

#[test]
fn test_items_are_taken_out_whole() {
    let code = "fn a() { one; }\n#[cfg(test)]\nmod tests { fn b() { two; } }\nfn c() { three; }\n#[cfg(test)]\nuse four;\nfive";
    let rest = without_tests(code);
    assert!(rest.contains("one") && rest.contains("three") && rest.contains("five"));
    assert!(!rest.contains("two") && !rest.contains("four"));
    assert_eq!(rest.matches('\n').count(), code.matches('\n').count());
}

#[test]
fn a_word_is_not_found_inside_a_longer_one() {
    let found: Vec<usize> = words("no_std std::a\nxstd std::b", "std::").map(|(line, _)| line).collect();
    assert_eq!(found, [1, 2]);
}
