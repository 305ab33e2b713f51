//! Which operations of a batch go into one command, so that a command stays within MongoDB's limits whatever the
//! size of the batch. Pure.

use std::ops::Range;

/// Bytes of operations in one command, at most: well below the 16 MiB that a server takes.
pub(super) const MAX_COMMAND: usize = 12 * 1024 * 1024;
/// Operations in one command, at most: the server's `maxWriteBatchSize`.
pub(super) const MAX_OPERATIONS: usize = 100_000;
/// A larger operation does not fit into any command.
pub(super) const MAX_OPERATION: usize = 15 * 1024 * 1024;
/// What an element of a BSON array costs besides its value: its type, its index in digits, a zero byte.
const ELEMENT: usize = 12;

/// Consecutive stretches of operations of these sizes that each fit into one command. An operation that is larger
/// than `max_bytes` has a command for itself.
pub(super) fn commands(sizes: &[usize], max_bytes: usize, max_operations: usize) -> Vec<Range<usize>> {
    let mut commands = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, size) in sizes.iter().enumerate() {
        let size = size.saturating_add(ELEMENT);
        if index > start && (bytes + size > max_bytes || index - start >= max_operations) {
            commands.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    if start < sizes.len() {
        commands.push(start..sizes.len());
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_is_split_where_a_command_is_full() {
        let check = |sizes: &[usize], expected: &[usize]| {
            let lengths: Vec<usize> = commands(sizes, 100 + 3 * ELEMENT, 3).iter().map(Range::len).collect();
            assert_eq!(lengths, expected, "{sizes:?}");
        };
        check(&[], &[]);
        check(&[10], &[1]);
        check(&[50, 25, 25], &[3]);
        check(&[50, 25, 26], &[2, 1]);
        check(&[1, 1, 1, 1], &[3, 1]);
        check(&[1, 500, 1], &[1, 1, 1]);
    }

    proptest! {
        #[test]
        fn every_operation_is_in_one_command_and_no_command_is_too_large(
            sizes in proptest::collection::vec(0_usize..1_000, 0..200),
            max_bytes in 1_usize..3_000,
            max_operations in 1_usize..50,
        ) {
            let commands = commands(&sizes, max_bytes, max_operations);
            let all: Vec<usize> = commands.iter().cloned().flatten().collect();
            prop_assert_eq!(all, (0..sizes.len()).collect::<Vec<_>>());
            for command in commands {
                let bytes: usize = sizes[command.clone()].iter().map(|size| size + ELEMENT).sum();
                prop_assert!(command.len() == 1 || bytes <= max_bytes);
                prop_assert!(!command.is_empty() && command.len() <= max_operations);
            }
        }
    }
}
