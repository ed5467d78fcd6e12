//! The books: double entry in integer micro-credits.

mod fold;

use crate::cow::{CowMap, digest_of};
use core::fmt;
use forge_event::*;
use serde::{Deserialize, Serialize};

/// An account of the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Debug)]
pub enum Account {
    ProjectAvailable(ProjectId),
    JobEscrow(JobId),
    ProviderHeld(ProviderId),
    ProviderPayable(ProviderId),
    HubFee,
    HubRounding,
    HubVerification,
    EquityIssued,
}

impl Account {
    /// Only the hub's own accounts and equity may be negative.
    pub fn may_be_negative(self) -> bool {
        matches!(self, Account::HubFee | Account::HubRounding | Account::HubVerification | Account::EquityIssued)
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Account::ProjectAvailable(p) => write!(f, "project:{p}:available"),
            Account::JobEscrow(j) => write!(f, "job:{j}:escrow"),
            Account::ProviderHeld(v) => write!(f, "provider:{v}:held"),
            Account::ProviderPayable(v) => write!(f, "provider:{v}:payable"),
            Account::HubFee => f.write_str("hub:fee"),
            Account::HubRounding => f.write_str("hub:rounding"),
            Account::HubVerification => f.write_str("hub:verification"),
            Account::EquityIssued => f.write_str("equity:issued"),
        }
    }
}

/// One leg of a transfer. Units: micro-credits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub account: Account,
    pub amount: i128,
}

/// An accrual some of whose results are not sealed yet, so that they may still be voided.
#[derive(Clone, Serialize, Deserialize, Debug)]
pub struct Accrual {
    pub job: JobId,
    pub provider: ProviderId,
    pub rate: Rate,
    pub prices: u32,
    /// Results not voided.
    pub pending: u64,
    /// Results no seal covers yet.
    pub unsealed: u64,
}

/// What a provider earned, in sum. Units: micro-credits.
#[derive(Clone, Copy, Serialize, Deserialize, Debug, Default)]
pub struct Earnings {
    pub earned: u128,
    pub clawed_back: u128,
    pub paid: u128,
}

#[derive(Clone, Serialize, Deserialize, Debug, Default)]
pub struct Accounting {
    /// Balances that are not zero. Units: micro-credits.
    pub balances: CowMap<Account, i128>,
    pub accruals: CowMap<TransferId, Accrual>,
    pub earnings: CowMap<ProviderId, Earnings>,
}

impl Accounting {
    pub fn balance(&self, account: Account) -> i128 {
        self.balances.get(&account).copied().unwrap_or(0)
    }

    /// Sum over all accounts: zero after every event.
    pub fn sum(&self) -> i128 {
        self.balances.iter().map(|(_, amount)| amount).sum()
    }

    pub(crate) fn root(&mut self) -> Digest {
        digest_of(&[self.balances.root(), self.accruals.root(), self.earnings.root()])
    }
}
