//! Pages of ids of things that lie many in a partition: a page of a scan is of so many that it is given in parts, and one that was
//! given in part is read again.

/// After so many ids no further partition is added to a page of them.
pub(super) const IDS_OF_A_PAGE: usize = 1_000;

/// Where a page of ids begins: behind which partition, and behind which position of the scan that one was found.
pub(super) fn place(from: Option<&str>) -> (&str, Option<&str>) {
    let (given, scan) = from.and_then(|from| from.split_once('|')).unwrap_or_default();
    (given, Some(scan).filter(|scan| !scan.is_empty()))
}

/// The place behind a partition.
pub(super) fn behind(given: &str, scan: Option<&str>) -> String {
    format!("{given}|{}", scan.unwrap_or_default())
}

/// Those of a scan's partitions that were not given yet; all, where the last one that was given is not there any more.
pub(super) fn not_given<'a, T>(all: &'a [(String, T)], given: &str) -> &'a [(String, T)] {
    let first = all.iter().position(|(id, _)| id == given).map_or(0, |last| last + 1);
    all.get(first..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_ids_goes_on_behind_a_partition_of_the_same_scan() {
        assert_eq!(place(None), ("", None));
        assert_eq!(place(Some(&behind("", Some("x|y")))), ("", Some("x|y")));
        assert_eq!(place(Some(&behind("d1:3", None))), ("d1:3", None));
        assert_eq!(place(Some(&behind("d1:3", Some("x")))), ("d1:3", Some("x")));
        let all = ["a", "b"].map(|id| (id.to_owned(), ()));
        assert_eq!(not_given(&all, ""), &all);
        assert_eq!(not_given(&all, "a"), &all[1..]);
        assert!(not_given(&all, "b").is_empty());
        assert_eq!(not_given(&all, "gone"), &all);
    }
}
