//! Partitions that do not fit into memory at once, in groups one after the other.
//!
//! Nothing passes from one partition to another, and what the first layers are trained as is chosen
//! for the run as a whole: on the CPU a partition comes to the same bytes in any group. On a card the
//! size of a matrix product's tiles depends on the number of networks side by side, so that results
//! agree within rounding. With [`Options::patience`](super::Options::patience) a group ends when its
//! own partitions have settled.
//!
//! Groups read the same rows; what is made of these for a step, `X·Xᵀ` in Gram form, is made again for
//! each, since it would be kept twice otherwise and costs little beside the training.

use std::ops::Range;

/// Partitions in groups whose sizes differ by one at most, the larger ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Groups {
    partitions: usize,
    count: usize,
}

impl Groups {
    /// As few groups of `partitions` as there can be with at most `most` in each; both are at least
    /// one.
    pub fn new(partitions: usize, most: usize) -> Groups {
        assert!(partitions > 0 && most > 0, "groups have partitions");
        Groups {
            partitions,
            count: partitions.div_ceil(most),
        }
    }

    /// Number of partitions.
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Number of groups.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Partitions of the largest group. [`Groups::new`] makes the same groups of it.
    pub fn at_once(&self) -> usize {
        self.partitions.div_ceil(self.count)
    }

    /// The partitions of each group.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Groups { partitions, count } = *self;
        let (size, larger) = (partitions / count, partitions % count);
        let start = move |i: usize| i * size + i.min(larger);
        (0..count).map(move |i| start(i)..start(i + 1))
    }

    /// The group that follows when the first `trained` partitions are trained.
    pub fn after(&self, trained: usize) -> Option<Range<usize>> {
        self.ranges().find(|group| group.start >= trained)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_with_room_for_eight() {
        let groups = Groups::new(20, 8);
        assert_eq!((groups.count(), groups.at_once()), (3, 7));
        assert_eq!(groups.ranges().collect::<Vec<_>>(), [0..7, 7..14, 14..20]);
    }

    /// Every partition is in one group, groups are as few as can be and as equal, and the size of
    /// the largest makes them again.
    #[test]
    fn groups_are_few_and_equal() {
        for partitions in 1..40 {
            for most in 1..45 {
                let groups = Groups::new(partitions, most);
                let ranges: Vec<_> = groups.ranges().collect();
                assert_eq!(ranges.len(), partitions.div_ceil(most));
                let sizes: Vec<usize> = ranges.iter().map(ExactSizeIterator::len).collect();
                assert_eq!(sizes[0], groups.at_once());
                assert!(sizes[0] <= most && sizes[0] - sizes[sizes.len() - 1] <= 1);
                assert!(sizes.is_sorted_by(|a, b| a >= b));
                let all: Vec<usize> = ranges.into_iter().flatten().collect();
                assert!(all.into_iter().eq(0..partitions));
                assert_eq!(Groups::new(partitions, groups.at_once()), groups);
            }
        }
    }
}
