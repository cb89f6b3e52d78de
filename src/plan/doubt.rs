//! Transfers in doubt: their contents could not be compared.

use crate::{
    error::Refusal,
    model::count::Count,
    plan::{actions::Transfer, plan::Plan, rule::Reason},
};

/// So many transfers in doubt are always allowed.
const MAX_DOUBT: u64 = 100;

impl Plan {
    /// The transfers that are only made because the contents could not be compared.
    pub fn in_doubt(&self) -> Count {
        let is_in_doubt = |transfer: &&Transfer| transfer.reason == Reason::Doubt;
        let mut count = Count::default();
        let transfers = self.transfers.iter().filter(is_in_doubt);
        transfers.for_each(|transfer| count.add(transfer.size(self.direction)));
        count
    }

    /// Refuses more than 100 transfers in doubt, if they concern more than half of the paths that
    /// both sides have. The store then probably sends nothing that contents can be compared with.
    pub(super) fn check_doubt(&self, is_allowed: bool) -> Result<(), Refusal> {
        let (doubtful, pairs) = (self.in_doubt().entries, self.pairs);
        if is_allowed || doubtful <= MAX_DOUBT || doubtful * 2 <= pairs {
            return Ok(());
        }
        Err(Refusal::TooMuchDoubt { doubtful, pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        local::Scan,
        model::{direction::Direction, time::Timestamp},
        plan::{build::build, rule::Policy},
        record::Record,
        remote::Listing,
    };

    #[test]
    fn much_doubt_is_refused() {
        let policy = Policy {
            now: Timestamp::from_secs(1_000),
            margin: 1_000_000_000,
            by_content: false,
            no_delete: false,
            ignore_ctime: false,
        };
        let plan = |doubtful, pairs| {
            let (scan, listing) = (Scan::default(), Listing::default());
            let mut plan = build(Direction::Backup, scan, listing, Record::empty(), &policy);
            let doubt = Transfer { reason: Reason::Doubt, file: None, object: None };
            plan.transfers = vec![doubt; doubtful];
            plan.pairs = pairs;
            plan
        };
        for (doubtful, pairs, is_allowed) in
            [(0, 0, true), (100, 100, true), (101, 202, true), (101, 201, false)]
        {
            assert_eq!(plan(doubtful, pairs).check_doubt(false).is_ok(), is_allowed, "{pairs}");
            assert!(plan(doubtful, pairs).check_doubt(true).is_ok());
        }
        let count = plan(3, 3).in_doubt();
        assert_eq!((count.entries, count.bytes), (3, 0));
    }
}
