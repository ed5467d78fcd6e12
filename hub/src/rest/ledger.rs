//! The books: balances and their sum.

use super::answer::Answered;
use super::call::Call;
use super::list::Cut;
use forge_api::ledger::{AccountBalance, TrialBalance};
use forge_api::problem::ProblemBody;
use forge_api::{page::Page, text};
use forge_event::{ProjectId, Scope};
use forge_projections::World;
use forge_projections::accounting::Account;

/// Lists balances that are not zero: the project's own, or all of them with `cluster:admin` and `?all=true`.
#[utoipa::path(get, path = "/v1/ledger/accounts", operation_id = "listAccounts", tag = "ledger",
    params(("all" = Option<bool>, Query), ("limit" = Option<u32>, Query), ("page_token" = Option<String>, Query), ("order" = Option<String>, Query)),
    responses((status = 200, body = Page<AccountBalance>), (status = "4XX", body = ProblemBody), (status = "5XX", body = ProblemBody)),
    security(("key" = ["ledger:read"])))]
pub async fn accounts(call: Call) -> Answered {
    call.need(&[Scope::LedgerRead])?;
    let cut = Cut::of(&call, &["all"], false)?;
    let all = call.query("all") == Some("true");
    if all {
        call.need(&[Scope::ClusterAdmin, Scope::AuditRead])?;
    }
    let project = if all { None } else { Some(call.project()?) };
    call.show(|world| {
        let own = |account: &Account| project.is_none_or(|p| belongs(*account, p, world));
        let mut balances: Vec<(Account, i128)> =
            world.accounting.balances.iter().filter(|(a, _)| own(a)).map(|(a, b)| (*a, *b)).collect();
        // An empty purse is an answer too.
        if let Some(purse) = project.map(Account::ProjectAvailable)
            && let Err(place) = balances.binary_search_by_key(&purse, |(account, _)| *account)
        {
            balances.insert(place, (purse, 0));
        }
        let keyed = balances.iter().map(|(account, balance)| (place(*account), account, balance));
        let page = cut.walk(keyed).filter(|(key, ..)| cut.is_behind(*key)).map(|(key, account, balance)| {
            (key, AccountBalance { account: account.to_string(), balance: text::micro(*balance) })
        });
        Ok(cut.page(page, world.head.events))
    })
    .await
}

/// Where an account stands among all, for page tokens: accounts that come or go between two pages move nothing.
fn place(account: Account) -> u64 {
    let (kind, id) = match account {
        Account::ProjectAvailable(project) => (0, project.0),
        Account::JobEscrow(job) => (1, job.0),
        Account::ProviderHeld(provider) => (2, provider.0),
        Account::ProviderPayable(provider) => (3, provider.0),
        Account::HubFee => (4, 0),
        Account::HubRounding => (5, 0),
        Account::HubVerification => (6, 0),
        Account::EquityIssued => (7, 0),
    };
    kind << 56 | id
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
