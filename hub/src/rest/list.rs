//! Pages of lists.

use super::answer::Refused;
use super::call::Call;
use forge_api::{Problem, page};

/// Where a page starts and how long it is.
pub struct Cut {
    pub limit: usize,
    /// The last key of the page before.
    pub after: Option<u64>,
    pub descending: bool,
    filters: String,
}

impl Cut {
    /// Reads `limit`, `page_token` and `order`; `filters` are the parameters that the token is bound to.
    ///
    /// # Errors
    /// 400 for a parameter out of range, or a token of another list.
    pub fn of(call: &Call, filters: &[&str], descending: bool) -> Result<Cut, Refused> {
        let limit = call.parsed("limit", |text| match text.parse() {
            Ok(n) if (1..=page::LIMIT_MAX).contains(&n) => Ok(n),
            _ => Err(format!("it is 1 to {}", page::LIMIT_MAX)),
        })?;
        let descending = match call.query("order") {
            None => descending,
            Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(Problem::bad_parameter("order", "it is asc or desc").into()),
        };
        let mut pinned = format!("{} {descending} {:?}", call.path, call.named_project()?.or(call.own_project()));
        for name in filters {
            pinned.push_str(&format!("&{name}={:?}", call.query(name)));
        }
        for (label, value) in call.query_under("label.") {
            pinned.push_str(&format!("&label.{label}={value:?}"));
        }
        let after = call.parsed("page_token", |token| page::key(&pinned, token))?;
        Ok(Cut { limit: limit.unwrap_or(page::LIMIT_DEFAULT), after, descending, filters: pinned })
    }

    /// A page of `items`, which come in order and start behind `after`; `key` tells where each stands.
    pub fn page<T>(&self, items: impl IntoIterator<Item = (u64, T)>, as_of_index: u64) -> page::Page<T> {
        let mut items = items.into_iter();
        let mut data = Vec::new();
        let mut last = None;
        for (key, item) in items.by_ref().take(self.limit) {
            last = Some(key);
            data.push(item);
        }
        let next_page_token = last.filter(|_| items.next().is_some()).map(|key| page::token(&self.filters, key));
        page::Page { data, next_page_token, as_of_index }
    }

    /// Items in the order that was asked for, given in ascending order of their keys.
    pub fn walk<'i, I: DoubleEndedIterator + 'i>(&self, items: I) -> Box<dyn Iterator<Item = I::Item> + 'i> {
        if self.descending { Box::new(items.rev()) } else { Box::new(items) }
    }

    /// Whether an item at `key` belongs behind the page before.
    pub fn is_behind(&self, key: u64) -> bool {
        match self.after {
            None => true,
            Some(after) if self.descending => key < after,
            Some(after) => key > after,
        }
    }

    /// The token for the page behind `key`.
    pub fn token(&self, key: u64) -> String {
        page::token(&self.filters, key)
    }
}
