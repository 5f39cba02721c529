//! A set of numbers as disjoint ranges, for packets that arrived and bytes that are held.

use core::ops::Range;
use std::collections::VecDeque;

/// Ascending half-open ranges, none empty, no two of which touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Ranges {
    list: VecDeque<Range<u64>>,
}

impl Ranges {
    pub(crate) const EMPTY: Self = Self { list: VecDeque::new() };

    /// How many ranges there are.
    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The lowest range.
    pub(crate) fn first(&self) -> Option<&Range<u64>> {
        self.list.front()
    }

    /// The highest range.
    pub(crate) fn last(&self) -> Option<&Range<u64>> {
        self.list.back()
    }

    /// From the lowest up.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Range<u64>> + Clone {
        self.list.iter()
    }

    pub(crate) fn pop_first(&mut self) -> Option<Range<u64>> {
        self.list.pop_front()
    }

    /// Whether [`Self::insert`] would make one range more.
    pub(crate) fn would_add(&self, range: &Range<u64>) -> bool {
        let (from, to) = self.touched(range);
        from == to && !range.is_empty()
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // What comes in order touches the last range or starts a new one behind it.
        match self.list.back_mut() {
            Some(last) if last.end == range.start => {
                last.end = range.end;
                return;
            }
            Some(last) if last.end > range.start => {}
            Some(_) | None => {
                self.list.push_back(range);
                return;
            }
        }
        let (from, to) = self.touched(&range);
        let merged = self
            .list
            .range(from..to)
            .fold(range, |merged, touched| merged.start.min(touched.start)..merged.end.max(touched.end));
        self.replace(from, to, [Some(merged), None]);
    }

    pub(crate) fn remove(&mut self, range: Range<u64>) {
        // What is removed in order lies at the front.
        while let Some(first) = self.list.front_mut().filter(|first| range.start <= first.start) {
            if range.end < first.end {
                first.start = first.start.max(range.end);
                return;
            }
            self.list.pop_front();
        }
        if self.list.is_empty() {
            return;
        }
        let from = self.list.partition_point(|held| held.end <= range.start);
        let to = self.list.partition_point(|held| held.start < range.end);
        if from >= to || range.is_empty() {
            return;
        }
        let left = self.list.get(from).map(|held| held.start..range.start).filter(|left| !left.is_empty());
        let last = to.checked_sub(1).and_then(|last| self.list.get(last));
        let right = last.map(|held| range.end..held.end).filter(|right| !right.is_empty());
        self.replace(from, to, [left, right]);
    }

    /// Indexes of the ranges that overlap or touch `range`, from the first to behind the last.
    fn touched(&self, range: &Range<u64>) -> (usize, usize) {
        let from = self.list.partition_point(|held| held.end < range.start);
        let to = self.list.partition_point(|held| held.start <= range.end);
        (from, to)
    }

    fn replace(&mut self, from: usize, to: usize, with: [Option<Range<u64>>; 2]) {
        self.list.drain(from..to);
        for range in with.into_iter().rev().flatten() {
            self.list.insert(from, range);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[derive(Debug, Clone)]
    enum Operation {
        Insert(Range<u64>),
        Remove(Range<u64>),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let range = (0u64..60, 0u64..12).prop_map(|(start, len)| start..start + len);
        prop_oneof![range.clone().prop_map(Operation::Insert), range.prop_map(Operation::Remove)]
    }

    proptest! {
        #[test]
        fn any_operations_agree_with_a_set_of_numbers(
            operations in proptest::collection::vec(operation(), 0..60),
        ) {
            let mut ranges = Ranges::default();
            let mut model = BTreeSet::new();
            for operation in operations {
                match operation {
                    Operation::Insert(range) => {
                        let before = ranges.len();
                        let adds = ranges.would_add(&range);
                        ranges.insert(range.clone());
                        prop_assert_eq!(adds, ranges.len() > before);
                        model.extend(range);
                    }
                    Operation::Remove(range) => {
                        ranges.remove(range.clone());
                        model.retain(|number| !range.contains(number));
                    }
                }
                prop_assert!(ranges.iter().all(|range| !range.is_empty()));
                let list: Vec<_> = ranges.iter().cloned().collect();
                prop_assert!(list.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", list);
                let numbers: BTreeSet<u64> = list.into_iter().flatten().collect();
                prop_assert_eq!(&numbers, &model);
            }
        }
    }
}
