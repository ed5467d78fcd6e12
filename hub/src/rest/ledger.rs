//! The books: balances and their sum.

use super::answer::Answered;
use super::call::Call;
use forge_api::ledger::{AccountBalance, TrialBalance};
use forge_api::problem::ProblemBody;
use forge_api::{page::Page, text};
use forge_event::{ProjectId, Scope};
use forge_projections::World;
use forge_projections::accounting::Account;

/// Accounts that one answer lists.
const ACCOUNTS_MAX: usize = 10_000;

/// Lists balances that are not zero: the project's own, or all of them with `cluster:admin` and `?all=true`.
#[utoipa::path(get, path = "/v1/ledger/accounts", operation_id = "listAccounts", tag = "ledger",
    params(("all" = Option<bool>, Query)),
    responses((status = 200, body = Page<AccountBalance>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["ledger:read"])))]
pub async fn accounts(call: Call) -> Answered {
    call.need(&[Scope::LedgerRead])?;
    let all = call.query("all") == Some("true");
    if all {
        call.need(&[Scope::ClusterAdmin, Scope::AuditRead])?;
    }
    let project = if all { None } else { Some(call.project()?) };
    call.show(|world| {
        let own = |account: &Account| project.is_none_or(|p| belongs(*account, p, world));
        let balances = world.accounting.balances.iter().filter(|(a, _)| own(a)).take(ACCOUNTS_MAX);
        let shown = |(a, b): (&Account, &i128)| AccountBalance { account: a.to_string(), balance: text::micro(*b) };
        let mut data: Vec<AccountBalance> = balances.map(shown).collect();
        if let Some(project) = project {
            // An empty purse is an answer too.
            let account = Account::ProjectAvailable(project).to_string();
            if data.iter().all(|b| b.account != account) {
                data.insert(0, AccountBalance { account, balance: text::micro(0) });
            }
        }
        Ok(Page { data, next_page_token: None, as_of_index: world.head.events })
    })
    .await
}

fn belongs(account: Account, project: ProjectId, world: &World) -> bool {
    match account {
        Account::ProjectAvailable(p) => p == project,
        Account::JobEscrow(job) => world.jobs.jobs.get(&job).is_some_and(|j| j.project() == project),
        _ => false,
    }
}

/// Adds all accounts up: the sum is zero.
#[utoipa::path(get, path = "/v1/ledger/trial-balance", operation_id = "getTrialBalance", tag = "ledger",
    responses((status = 200, body = TrialBalance), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["ledger:read"])))]
pub async fn trial_balance(call: Call) -> Answered {
    call.need(&[Scope::LedgerRead])?;
    call.show(|world| {
        let books = &world.accounting;
        let sum = text::micro(books.sum());
        Ok(TrialBalance { sum, accounts: books.balances.len(), as_of_index: world.head.events })
    })
    .await
}
