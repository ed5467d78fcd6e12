//! Text to tokens.

use super::ExprFault;
use alloc::format;
use alloc::string::String;

/// A piece of the text.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Token<'a> {
    Number(f64),
    Name(&'a str),
    Symbol(&'static str),
    End,
}

/// Longer ones first, so that `<=` is not read as `<`.
const SYMBOLS: [&str; 16] = ["<=", ">=", "==", "!=", "&&", "||", "+", "-", "*", "/", "^", "(", ")", ",", "<", ">"];

/// What other languages write, and what is written here.
const FOREIGN: [(&str, &str); 8] =
    [("**", "^"), ("=", "=="), ("&", "&&"), ("|", "||"), ("!", "!="), ("?", "if(c, a, b)"), ("[", "("), ("]", ")")];

/// Reads tokens one by one.
#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// Bytes read.
    at: usize,
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Lexer { text, at: 0 }
    }

    /// The next token, and the byte where it begins.
    pub fn next(&mut self) -> Result<(Token<'a>, usize), ExprFault> {
        let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\r', '\n']);
        let start = self.text.len() - rest.len();
        self.at = start;
        let Some(first) = rest.chars().next() else { return Ok((Token::End, start)) };
        if first.is_ascii_digit() || first == '.' {
            return self.number(rest, start);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.at = start + length;
            return Ok((Token::Name(&rest[..length]), start));
        }
        // `**` would else read as two signs.
        let known = if rest.starts_with("**") { None } else { SYMBOLS.iter().find(|s| rest.starts_with(**s)) };
        if let Some(symbol) = known {
            self.at = start + symbol.len();
            return Ok((Token::Symbol(symbol), start));
        }
        let foreign = FOREIGN.iter().find(|(theirs, _)| rest.starts_with(theirs));
        let (shown, fix) = match foreign {
            Some((theirs, ours)) => (String::from(*theirs), format!("write `{ours}`")),
            None => (first.escape_debug().collect(), String::new()),
        };
        Err(self.fault(start, format!("`{shown}` means nothing here"), &fix))
    }

    fn number(&mut self, rest: &'a str, start: usize) -> Result<(Token<'a>, usize), ExprFault> {
        let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
        let mut length = digits(0);
        if rest[length..].starts_with('.') {
            length += 1 + digits(length + 1);
        }
        if rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(rest[length + 1..].starts_with(['+', '-']));
            match digits(length + 1 + sign) {
                0 => return Err(self.fault(start, "a number's exponent has no digits".into(), "write 1e-3")),
                count => length += 1 + sign + count,
            }
        }
        if rest[length..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
            let detail = format!("a number runs into `{}`", rest[length..].chars().next().unwrap_or(' '));
            return Err(self.fault(start + length, detail, "put an operator or a space between them"));
        }
        let number = rest[..length].parse::<f64>();
        let Ok(number) = number else { return Err(self.fault(start, "a point alone is no number".into(), "")) };
        if number.is_infinite() {
            return Err(self.fault(start, "this number is beyond the largest double".into(), ""));
        }
        self.at = start + length;
        Ok((Token::Number(number), start))
    }

    /// A `bad-expression` at a byte.
    pub fn fault(&self, at: usize, detail: String, fix: &str) -> ExprFault {
        self.fault_of("bad-expression", at, detail, fix)
    }

    pub fn fault_of(&self, code: &'static str, at: usize, detail: String, fix: &str) -> ExprFault {
        let position = self.text[..at].chars().count() + 1;
        ExprFault { position, code, detail, fix: fix.into() }
    }
}
